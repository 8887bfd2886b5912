"""Images that are pushed while workspaces run: the server moves them by itself, or when it is asked."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine import Engine, purge
from support.registry import Registry, make_certificate, registry
from support.server import Json, ServerProcess, eventually

from .press import Press
from .site import LANGGRAPH, Serve, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
async def press(hub: Registry, engine_url: str, tmp_path: Path) -> AsyncIterator[Press]:
    """To be asked for before a server: its images are removed when the server's containers are gone."""
    made = Press(hub=hub, directory=tmp_path / "press", engine_url=engine_url)
    made.directory.mkdir()
    yield made
    await purge(engine_url, f"molecule.image.runtime={made.label}")


async def image_of(api: Engine, workspace: str) -> str:
    """The id of the image that a workspace's container runs; empty while there is none."""
    found = await api.listed("/containers/json", label=f"molecule.workspace.id={workspace}")
    return str(found[0]["ImageID"]) if found else ""


async def runs(server: ServerProcess, api: Engine, workspace: str, image: str) -> None:
    async def does() -> bool:
        return await image_of(api, workspace) == image

    await eventually(does, "it runs the image")
    await server.until(workspace, "online")


async def told(server: ServerProcess, workspace: str, text: str) -> str:
    """What an agent answers."""
    message = {"role": "user", "parts": [{"kind": "text", "text": text}]}
    body = {"method": "message/send", "params": {"message": message}}
    answer = await server.call("POST", f"/workspaces/{workspace}/a2a", body)
    return str(answer["result"]["parts"][0]["text"])


async def test_a_running_agent_is_moved_to_a_newly_pushed_image_by_itself_and_a_busy_one_when_it_is_idle(
    press: Press, serve: Serve, api: Engine
) -> None:
    first = await press.push()
    server = await serve(
        MOLECULE_IMAGE_REGISTRY=press.prefix,
        MOLECULE_EXTRA_RUNTIMES="echo",
        IMAGE_AUTO_REFRESH="true",
        MOLECULE_IMAGE_AUTO_REFRESH_SECONDS="1",
        MOLECULE_LOG_FORMAT="json",
        MOLECULE_LOG_LEVEL="debug",
    )
    idle, busy = [await server.create("echo", name, tier=2) for name in ("idle", "busy")]
    for workspace in (idle, busy):
        await runs(server, api, workspace, first)
    answer = asyncio.create_task(told(server, busy, "wait"))

    second = await press.push()
    await runs(server, api, idle, second)
    kept = [line for line in server.log_lines("workspace keeps its image for now") if line["workspace"] == busy]
    assert await image_of(api, busy) == first
    await eventually(lambda: server.log_lines("workspace keeps its image for now")[len(kept) :], "it is left again")
    (container,) = await api.listed("/containers/json", label=f"molecule.workspace.id={busy}")
    made = await api.call("POST", f"/containers/{container['Id']}/exec", {"Cmd": ["touch", "/workspace/go"]})
    await api.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})

    assert await answer == "wait"
    await runs(server, api, busy, second)
    assert await told(server, idle, "hello") == "hello"


async def test_a_registry_whose_authority_the_operator_names_is_watched_as_well(
    tmp_path: Path, engine_url: str, press: Press, serve: Serve, api: Engine
) -> None:
    certificate = await make_certificate(tmp_path)
    async with registry(tmp_path / "tls", tls=certificate) as hub:
        private = Press(hub=hub, directory=press.directory, engine_url=engine_url, label=press.label)
        first = await private.push()
        server = await serve(
            MOLECULE_IMAGE_REGISTRY=private.prefix,
            MOLECULE_EXTRA_RUNTIMES="echo",
            SSL_CERT_FILE=str(certificate.certificate),
            IMAGE_AUTO_REFRESH="true",
            MOLECULE_IMAGE_AUTO_REFRESH_SECONDS="1",
        )
        workspace = await server.create("echo", tier=2)
        await runs(server, api, workspace, first)
        await runs(server, api, workspace, await private.push())


async def refreshed(site: Site, query: str = "") -> Json:
    return await site.server.call("POST", f"/admin/workspace-images/refresh{query}")


async def test_a_refresh_of_local_builds_builds_what_moved_and_recreates_what_ran_before(site: Site) -> None:
    """What never was built is not built now; what fails has its reason, and stops nothing."""
    repository = await site.template(LANGGRAPH, quick_agent())
    hermes = await site.template("hermes", quick_agent("hermes"))
    workspace, other = await site.server.create(LANGGRAPH), await site.server.create("hermes")
    for each in (workspace, other):
        await site.server.until(each, "online")
    before, kept = await site.container(workspace), await site.container(other)
    unmoved = await refreshed(site)
    commit = await repository.commit({"Dockerfile": quick_agent(run="RUN true")["Dockerfile"]})
    shutil.rmtree(hermes.directory)
    done = await refreshed(site)
    view = await site.server.until(workspace, "online")

    assert unmoved == {"pulled": [], "built": [], "failed": [], "errors": {}, "recreated": [], "left": {}}
    assert (done["pulled"], done["built"], done["failed"]) == ([], [LANGGRAPH], ["hermes"])
    assert done["errors"]["hermes"]["code"] == "template_repo_missing"
    assert (done["recreated"], done["left"]) == ([f"ws-{workspace[:12]}"], {})
    assert (view["image"]["commit"], (await site.container(workspace))["Id"] != before["Id"]) == (commit, True)
    assert (await site.container(other))["Id"] == kept["Id"]


async def test_a_server_that_built_its_images_is_given_a_registry_and_back(press: Press, site: Site) -> None:
    """What runs goes on, what is provisioned next takes the new source, nothing is removed, and `/runtimes` says so."""
    server, api = site.server, site.engine
    await site.template(LANGGRAPH, quick_agent())
    built = await server.create(LANGGRAPH)
    await server.until(built, "online")
    from_source = await site.container(built)

    pushed = await press.push(LANGGRAPH)
    server.environment |= {"MOLECULE_IMAGE_REGISTRY": press.prefix, "IMAGE_AUTO_REFRESH": "true"}
    server.environment["MOLECULE_IMAGE_AUTO_REFRESH_SECONDS"] = "1"
    await server.restart()
    with_registry = await langgraph(server)
    pulled = await server.create(LANGGRAPH, tier=2)
    await runs(server, api, pulled, pushed)
    then = await langgraph(server)

    assert (await site.container(built))["State"] == from_source["State"]
    assert (await server.view(built))["image"]["source"] == "local-build"
    assert (with_registry["image_source"], with_registry["image"], with_registry["provisionable"]) == (
        "registry",
        None,
        True,
    )
    assert (then["image"]["id"], then["image"]["digest"], then["image"]["in_use_by"]) == (pushed, then["head"], 1)

    await server.call("POST", f"/workspaces/{built}/restart")
    await runs(server, api, built, pushed)
    from_registry = await site.container(pulled)
    for variable in ("MOLECULE_IMAGE_REGISTRY", "IMAGE_AUTO_REFRESH"):
        del server.environment[variable]
    await server.restart()
    builds = len(await server.builds())
    back = await langgraph(server)
    again = await server.create(LANGGRAPH)
    await runs(server, api, again, from_source["Image"])

    assert (await site.container(pulled))["State"] == from_registry["State"]
    assert (back["image_source"], back["image"]["id"]) == ("local-build", from_source["Image"])
    assert len(await server.builds()) == builds


async def langgraph(server: ServerProcess) -> Json:
    """What ``/runtimes`` says of it."""
    return next(each for each in await server.call("GET", "/runtimes") if each["name"] == LANGGRAPH)
