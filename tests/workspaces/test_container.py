"""From a workspace and an image to the container that is asked for; the engine's JSON of it has golden files."""

import json
from pathlib import Path

import pytest

from workspace_server.engine.encode import container_config
from workspace_server.images import EnsuredImage
from workspace_server.model.container import Access, ContainerSpec, Limits, Mount, NetworkInfo
from workspace_server.model.workspace import Workspace, WorkspaceAccess
from workspace_server.settings import Settings, load_settings
from workspace_server.workspaces.container import container_spec, tier_limits, volume_names
from workspace_server.workspaces.environment import environment
from workspace_server.workspaces.host_network import host_port

from .making import ID, IMAGE, INSTANCE, NETWORK, workspace

GOLDEN = Path(__file__).parent / "golden"


def settings(**variables: str) -> Settings:
    return load_settings({"HOME": "/home/somebody", **variables})


def spec(of: Workspace, image: EnsuredImage = IMAGE, network: NetworkInfo = NETWORK, **variables: str) -> ContainerSpec:
    chosen = settings(**variables)
    told = environment(of, chosen.agents_url, {})
    return container_spec(
        of,
        image,
        told,
        host_gateway=network.gateway,
        instance=INSTANCE,
        settings=chosen,
        host_port=host_port(of.tier, {}, network.gateway),
    )


@pytest.mark.parametrize("runtime", ["langgraph", "claude-code"])
@pytest.mark.parametrize("tier", [1, 2, 3, 4])
def test_a_container_is_asked_for_as_its_golden_file_says(tier: int, runtime: str) -> None:
    asked = container_config(spec(workspace(tier=tier, runtime=runtime, role="critic")))

    assert asked == json.loads((GOLDEN / f"{runtime}-tier{tier}.json").read_text())


def test_a_container_runs_the_image_by_its_id_on_the_platform_it_was_made_for() -> None:
    wanted = spec(workspace())

    assert (wanted.image_id, wanted.platform) == (IMAGE.id, IMAGE.platform)


def test_a_container_says_whose_it_is_which_generation_and_which_build() -> None:
    assert spec(workspace()).labels == {
        "molecule.platform.managed": "true",
        "molecule.platform.instance": INSTANCE,
        "molecule.workspace.id": ID,
        "molecule.workspace.generation": "3",
        "molecule.image.build_id": "cd" * 32,
    }


def test_a_registrys_image_has_no_build() -> None:
    pulled = EnsuredImage(id=IMAGE.id, source="registry", platform=None)

    assert "molecule.image.build_id" not in spec(workspace(), pulled).labels


def test_the_server_is_reached_through_the_address_that_was_announced() -> None:
    wanted = container_spec(workspace(), IMAGE, {}, host_gateway="host-gateway", instance=INSTANCE, settings=settings())

    assert wanted.host_gateway == "host-gateway"


@pytest.mark.parametrize(
    ("runtime", "volumes"),
    [
        ("langgraph", ["ws-0123abcd-456-configs", f"ws-{ID}-workspace"]),
        ("claude-code", ["ws-0123abcd-456-configs", f"ws-{ID}-workspace", "ws-0123abcd-456-claude-sessions"]),
    ],
)
def test_a_workspace_has_these_volumes(runtime: str, volumes: list[str]) -> None:
    of = workspace(runtime=runtime)

    assert volume_names(of) == [mount.source for mount in spec(of).mounts] == volumes


def test_a_claude_session_is_kept_where_the_runtime_looks_for_it() -> None:
    assert (
        Mount(source="ws-0123abcd-456-claude-sessions", target="/root/.claude/sessions")
        in spec(workspace(runtime="claude-code")).mounts
    )


@pytest.mark.parametrize(
    ("identity", "name"),
    [("short", "ws-short"), ("longer-than-twelve-characters", "ws-longer-than-"), (ID, "ws-0123abcd-456")],
)
def test_a_container_is_named_after_the_first_twelve_characters(identity: str, name: str) -> None:
    assert spec(workspace(id=identity)).name == name


@pytest.mark.parametrize(
    ("tier", "limits"),
    [
        (1, Limits()),
        (2, Limits(memory_mib=512, cpu_shares=1024)),
        (3, Limits(memory_mib=2048, cpu_shares=2048)),
        (4, Limits(memory_mib=4096, cpu_shares=4096)),
        (0, Limits(memory_mib=512, cpu_shares=1024)),
        (9, Limits(memory_mib=512, cpu_shares=1024)),
    ],
)
def test_a_tier_has_these_limits(tier: int, limits: Limits) -> None:
    assert tier_limits(tier, settings()) == limits


@pytest.mark.parametrize("tier", [2, 3, 4])
def test_an_operator_sets_a_tiers_limits(tier: int) -> None:
    own = settings(**{f"TIER{tier}_MEMORY_MB": "7", f"TIER{tier}_CPU_SHARES": "9"})

    assert tier_limits(tier, own) == Limits(memory_mib=7, cpu_shares=9)


@pytest.mark.parametrize(
    ("variables", "policy"), [({}, "no"), ({"MOLECULE_WORKSPACE_RESTART_POLICY": "always"}, "always")]
)
def test_the_engine_restarts_nothing_unless_it_is_told_to(variables: dict[str, str], policy: str) -> None:
    assert spec(workspace(), **variables).restart_policy == policy


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://host.docker.internal:8080"),
        ({"PORT": "9000"}, "http://host.docker.internal:9000"),
        ({"PLATFORM_URL": "https://platform.example.org"}, "https://platform.example.org"),
    ],
)
def test_a_container_is_told_where_the_server_is(variables: dict[str, str], url: str) -> None:
    told = spec(workspace(), **variables).environment

    assert (told["PLATFORM_URL"], told["MOLECULE_URL"]) == (url, url)


def test_a_spec_shows_no_environment() -> None:
    assert "PLATFORM_URL" not in repr(spec(workspace()))


@pytest.mark.parametrize(
    ("directory", "access", "mount"),
    [
        (None, WorkspaceAccess.NONE, Mount(source=f"ws-{ID}-workspace", target="/workspace")),
        ("/home/me/p", WorkspaceAccess.NONE, Mount(source=f"ws-{ID}-workspace", target="/workspace")),
        (
            "/home/me/p",
            WorkspaceAccess.READ_ONLY,
            Mount(source="/home/me/p", target="/workspace", access=Access.READ_ONLY),
        ),
        ("/home/me/p", WorkspaceAccess.READ_WRITE, Mount(source="/home/me/p", target="/workspace")),
    ],
)
def test_what_is_behind_workspace_is_the_directory_or_a_volume(
    directory: str | None, access: WorkspaceAccess, mount: Mount
) -> None:
    of = workspace(workspace_dir=directory, workspace_access=access)

    assert [each for each in spec(of).mounts if each.target == "/workspace"] == [mount]
    assert (mount.source in volume_names(of)) == (not mount.is_bind)


def test_a_sandbox_sees_no_directory_of_this_machine() -> None:
    of = workspace(tier=1, workspace_dir="/home/me/p", workspace_access=WorkspaceAccess.READ_WRITE)

    assert [each["Target"] for each in container_config(spec(of))["HostConfig"]["Mounts"]] == ["/configs"]
