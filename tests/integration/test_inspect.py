"""What the engine shows of two online workspaces, of tier 1 and tier 2, and of their image."""

import hashlib
import io
import re
import stat
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import yaml

from support.git_repository import Repository
from support.server import Json

from .site import LANGGRAPH, Site, open_site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

NETWORK = "molecule-monorepo-net"


@dataclass(frozen=True, slots=True)
class Inspected:
    """Two workspaces, sandboxed and standard, as the engine shows them."""

    site: Site
    repository: Repository
    sandboxed: str
    standard: str
    containers: dict[int, Json]
    image: Json
    view: Json

    def workspace(self, tier: int) -> str:
        return {1: self.sandboxed, 2: self.standard}[tier]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def found(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Inspected]:
    async with open_site(tmp_path_factory.mktemp("site"), engine_url) as site:
        repository = await site.template(LANGGRAPH, quick_agent())
        sandboxed = await site.server.create(LANGGRAPH, "sand boxed", tier=1, role="plays")
        standard = await site.server.create(LANGGRAPH, "Standard", model="some-model")
        await site.server.until(sandboxed, "online")
        yield Inspected(
            site=site,
            repository=repository,
            sandboxed=sandboxed,
            standard=standard,
            view=await site.server.until(standard, "online"),
            containers={1: await site.container(sandboxed), 2: await site.container(standard)},
            image=await site.image(standard),
        )


async def files_in(found: Inspected, tier: int, path: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The files below a path of a container."""
    container = found.containers[tier]["Id"]
    async with found.site.engine.stream(f"/containers/{container}/archive", path=path) as body:
        archive = tarfile.open(fileobj=io.BytesIO(await body.read()))  # noqa: SIM115 - in memory
    return {
        member.name: (member, content.read() if (content := archive.extractfile(member)) else b"")
        for member in archive.getmembers()
    }


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_container_carries_its_labels(found: Inspected, tier: int) -> None:
    labels = found.containers[tier]["Config"]["Labels"]
    (build,) = await found.site.server.builds()
    expected = {
        "molecule.platform.managed": "true",
        "molecule.platform.instance": found.site.server.instance,
        "molecule.workspace.id": found.workspace(tier),
        "molecule.workspace.generation": "1",
        "molecule.image.build_id": build["build_id"],
    }
    assert {name: labels.get(name) for name in expected} == expected


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_container_has_its_name_and_runs_the_image_by_its_id(found: Inspected, tier: int) -> None:
    container = found.containers[tier]
    assert container["Name"] == f"/ws-{found.workspace(tier)[:12]}"
    assert container["Config"]["Image"] == container["Image"] == found.view["image"]["id"]


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_agents_port_is_published_on_loopback_only(found: Inspected, tier: int) -> None:
    (binding,) = found.containers[tier]["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    listed = await found.site.server.listed(found.workspace(tier))
    assert listed["url"] == f"http://127.0.0.1:{binding['HostPort']}"


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_container_is_on_the_workspace_network_under_its_name(found: Inspected, tier: int) -> None:
    networks = found.containers[tier]["NetworkSettings"]["Networks"]
    assert list(networks) == [NETWORK]
    assert f"ws-{found.workspace(tier)[:12]}" in networks[NETWORK]["Aliases"]


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_host_is_the_gateway_of_the_workspace_network(found: Inspected, tier: int) -> None:
    """Not that of the engine's default network, where the server does not listen."""
    network = await found.site.engine.get(f"/networks/{NETWORK}")
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    assert found.containers[tier]["HostConfig"]["ExtraHosts"] == [f"host.docker.internal:{gateway}"]


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_engine_does_not_restart_by_itself(found: Inspected, tier: int) -> None:
    assert found.containers[tier]["HostConfig"]["RestartPolicy"]["Name"] == "no"


async def test_tier_1_sees_its_configuration_and_can_write_nowhere_else(found: Inspected) -> None:
    container = found.containers[1]
    host = container["HostConfig"]
    assert {mount["Destination"]: mount["Name"] for mount in container["Mounts"]} == {
        "/configs": f"ws-{found.sandboxed[:12]}-configs"
    }
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,size=64m"}
    assert (host["Privileged"], host["PidMode"], host["Memory"], host["NanoCpus"]) == (False, "", 0, 0)


async def test_tier_2_has_its_files_and_its_limits(found: Inspected) -> None:
    container = found.containers[2]
    host = container["HostConfig"]
    assert {mount["Destination"]: mount["Name"] for mount in container["Mounts"]} == {
        "/configs": f"ws-{found.standard[:12]}-configs",
        "/workspace": f"ws-{found.standard}-workspace",
    }
    assert (host["Memory"], host["NanoCpus"]) == (512 * 1024 * 1024, 1_000_000_000)
    assert (host["Privileged"], host["PidMode"], host["ReadonlyRootfs"]) == (False, "", False)


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_volumes_carry_the_labels_of_their_workspace(found: Inspected, tier: int) -> None:
    """Both in both tiers: the files of tier 1 are there when it is given another tier."""
    workspace = found.workspace(tier)
    names = await found.site.volumes(workspace)
    assert names == {f"ws-{workspace[:12]}-configs", f"ws-{workspace}-workspace"}
    for name in names:
        assert (await found.site.engine.get(f"/volumes/{name}"))["Labels"] == {
            "molecule.platform.managed": "true",
            "molecule.platform.instance": found.site.server.instance,
            "molecule.workspace.id": workspace,
        }


async def test_the_container_is_told_who_it_is_and_where_the_server_is(found: Inspected) -> None:
    environment = dict(each.split("=", 1) for each in found.containers[1]["Config"]["Env"])
    url = f"http://host.docker.internal:{found.site.server.port}"
    expected = {
        "WORKSPACE_ID": found.sandboxed,
        "WORKSPACE_CONFIG_PATH": "/configs",
        "PLATFORM_URL": url,
        "MOLECULE_URL": url,
        "TIER": "1",
        "PLUGINS_DIR": "/plugins",
        "PYTHONPATH": "/app",
        "MOLECULE_AGENT_ROLE": "plays",
        "GIT_AUTHOR_NAME": "Molecule AI sand boxed",
        "GIT_AUTHOR_EMAIL": "sand-boxed@agents.moleculesai.app",
        "GIT_COMMITTER_NAME": "Molecule AI sand boxed",
        "GIT_COMMITTER_EMAIL": "sand-boxed@agents.moleculesai.app",
    }
    assert {name: environment.get(name) for name in expected} == expected


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_token_is_the_agents_own_and_nobody_else_can_read_it(found: Inspected, tier: int) -> None:
    entry, content = (await files_in(found, tier, "/configs"))["configs/.auth_token"]
    assert (entry.uid, entry.gid, stat.S_IMODE(entry.mode)) == (1000, 1000, 0o600)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", content.decode())
    headers = {"Authorization": f"Bearer {content.decode()}"}
    answer = await found.site.server.client.get(f"/workspaces/{found.workspace(tier)}/provisioning", headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("tier", [1, 2])
async def test_the_configuration_folder_is_the_agents_own(found: Inspected, tier: int) -> None:
    entry, _ = (await files_in(found, tier, "/configs"))["configs"]
    assert (entry.uid, entry.gid) == (1000, 1000)


async def test_the_configuration_is_the_templates_with_the_workspaces_own_names(found: Inspected) -> None:
    template = yaml.safe_load(str(quick_agent()["config.yaml"]))
    _, sandboxed = (await files_in(found, 1, "/configs"))["configs/config.yaml"]
    _, standard = (await files_in(found, 2, "/configs"))["configs/config.yaml"]
    own = {"name": "sand boxed", "tier": 1, "runtime": LANGGRAPH, "description": "plays"}
    assert yaml.safe_load(sandboxed) == {**template, **own}
    own = {"name": "Standard", "tier": 2, "runtime": LANGGRAPH, "model": "some-model"}
    assert yaml.safe_load(standard) == {**template, **own}


async def test_the_image_says_what_it_was_made_from(found: Inspected) -> None:
    (build,) = await found.site.server.builds()
    labels = found.image["Config"]["Labels"]
    dockerfile = hashlib.sha256(str(quick_agent()["Dockerfile"]).encode()).hexdigest()
    expected = {
        "molecule.platform.managed": "true",
        "molecule.image.build_id": build["build_id"],
        "molecule.image.key": hashlib.sha256(f"{build['build_id']}{dockerfile}".encode()).hexdigest(),
        "molecule.image.commit": found.repository.tip(),
        "molecule.image.source": found.repository.url,
        "molecule.image.platform": "linux/amd64",
        "molecule.image.dockerfile": dockerfile,
        "molecule.image.runtime": LANGGRAPH,
    }
    assert {name: labels.get(name) for name in expected} == expected


async def test_the_image_has_a_tag_of_its_commit_and_one_for_people(found: Inspected) -> None:
    source = hashlib.sha256(found.repository.url.encode()).hexdigest()[:8]
    name = f"molecule-local/workspace-template-{LANGGRAPH}"
    assert set(found.image["RepoTags"]) == {
        f"{name}:{found.repository.tip()[:12]}-{source}",
        f"{name}:latest-{source}",
    }


async def test_the_build_is_told_as_the_contract_shows_it(found: Inspected) -> None:
    (build,) = await found.site.server.builds()
    assert (build["state"], build["phase"], build["error"]) == ("succeeded", "done", None)
    assert (build["runtime"], build["commit"]) == (LANGGRAPH, found.repository.tip())
    assert build["image_id"] == found.image["Id"]
    assert [step["n"] for step in build["steps"]] == list(range(1, len(build["steps"]) + 1))
    assert build["steps"][0]["name"].startswith("FROM ")
    assert build["steps"][0]["name"].endswith("python:3.11-slim")
    assert "python:3.11-slim" in (await found.site.server.client.get(build["log"])).text
