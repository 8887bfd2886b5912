"""What an agent finds under /configs, from the first start to a restart that is told to write it anew."""

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.engine import EngineError
from workspace_server.errors import InvalidRequestError
from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.workspaces.lifecycle import RestartWish

from .world import Supply, World, file_in, world

pytestmark = pytest.mark.engine

EDITED = b"name: edited\nruntime: idle\nprompt_files: [mine.md]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "configs"
    for folder in ("critic", "org-templates/ada", "idle"):
        (root / folder).mkdir(parents=True)
        (root / folder / "config.yaml").write_text(f"name: x\nfrom: {folder}\n")
        (root / folder / "system-prompt.md").write_text(folder)
    return root


@pytest.fixture
async def here(
    engine_url: str, supply: Supply, instance: str, workspace_network: None, root: Path
) -> AsyncIterator[World]:
    idle = supply.repositories["idle"]
    variables = {
        "CONFIGS_DIR": str(root),
        "MOLECULE_TEMPLATE_REPO_CLAUDE_CODE": idle.directory.as_uri(),
        "MOLECULE_TEMPLATE_REF_CLAUDE_CODE": idle.tip(),
    }
    async with world(root.parent / "data", engine_url, supply, instance, **variables) as opened:
        yield opened


async def read(here: World, workspace: str, name: str) -> bytes | None:
    container = (await here.inspected(workspace))["Id"]
    try:
        return (await file_in(here.api, container, f"/configs/{name}"))[0]
    except EngineError as error:
        if error.status != 404:
            raise
        return None


async def config(here: World, workspace: str) -> Any:
    return yaml.safe_load(await read(here, workspace, "config.yaml") or b"")


async def edit(here: World, workspace: str, content: bytes = EDITED, name: str = "config.yaml") -> None:
    """Write a file as somebody inside the container would."""
    await put(here, (await here.inspected(workspace))["Id"], "/configs", content, name)


async def put(here: World, container: str, folder: str, content: bytes, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.uid = len(content), 1000
    await put_entry(here, container, folder, entry, content)


async def put_entry(here: World, container: str, folder: str, entry: tarfile.TarInfo, content: bytes = b"") -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(content))
    await here.api.call("PUT", f"/containers/{container}/archive", buffer.getvalue(), path=folder)


async def restarted(here: World, workspace: str, **wish: Any) -> str:
    """Restart it and wait until its new container runs; what the configuration was said to be made from."""
    source = await here.lifecycle.restart(workspace, RestartWish(**wish))
    here.proxy.faults.remove(await here.begin())
    return source


async def test_everything_of_a_config_template_is_there_with_the_workspaces_own_names(here: World) -> None:
    workspace = await here.waiting_for_agent(name="Ada", role="critic", config_template="critic")

    assert await config(here, workspace) == {
        "name": "Ada",
        "from": "critic",
        "tier": 2,
        "runtime": "idle",
        "description": "critic",
    }
    assert await read(here, workspace, "system-prompt.md") == b"critic"


async def test_without_a_config_template_it_is_the_repositorys(here: World) -> None:
    workspace = await here.waiting_for_agent()

    assert ((await config(here, workspace))["version"], await read(here, workspace, "system-prompt.md")) == (
        "1.0.0",
        None,
    )


async def test_a_restart_keeps_what_somebody_edited(here: World) -> None:
    workspace = await here.waiting_for_agent(config_template="critic")
    await edit(here, workspace)
    await edit(here, workspace, b"mine", "system-prompt.md")

    assert await restarted(here, workspace) == ""
    assert (await read(here, workspace, "config.yaml"), await read(here, workspace, "system-prompt.md")) == (
        EDITED,
        b"mine",
    )


async def test_a_restart_follows_a_change_of_what_nobody_edited(here: World, root: Path) -> None:
    workspace = await here.waiting_for_agent(config_template="critic")
    await edit(here, workspace, b"mine", "system-prompt.md")
    write(root / "critic/config.yaml", "from: a later day\n")
    await here.service.change(workspace, {"name": "Eve"})
    await restarted(here, workspace)

    found = await config(here, workspace)
    assert (found["from"], found["name"], await read(here, workspace, "system-prompt.md")) == (
        "a later day",
        "Eve",
        b"mine",
    )


async def test_what_was_edited_is_kept_through_a_pause_as_well(here: World) -> None:
    workspace = await here.waiting_for_agent()
    await edit(here, workspace)
    await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    await here.settle()
    assert await here.containers(workspace) == []
    await here.lifecycle.resume(workspace)
    here.proxy.faults.remove(await here.begin())

    assert (await read(here, workspace, "config.yaml"), len(await here.containers())) == (EDITED, 1)


async def test_what_was_edited_is_kept_while_the_engine_is_removing_the_old_container(here: World) -> None:
    """It answers 500 to whoever wants to read a file of one."""
    workspace = await here.waiting_for_agent()
    await edit(here, workspace)
    words = "RWLayer of container is unexpectedly nil"
    failing = here.proxy.faults.answer("GET", "/containers/[^/]+/archive", message=words, times=1)
    await restarted(here, workspace)

    assert (await read(here, workspace, "config.yaml"), failing.times) == (EDITED, 0)


async def test_a_configuration_that_was_lost_is_written_again(here: World) -> None:
    workspace = await here.waiting_for_agent(config_template="critic")
    await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    await here.settle()
    await here.api.call("DELETE", f"/volumes/{names.config_volume(workspace)}")
    await here.lifecycle.resume(workspace)
    here.proxy.faults.remove(await here.begin())

    assert await read(here, workspace, "system-prompt.md") == b"critic"


@pytest.mark.parametrize(
    ("wish", "source", "found"),
    [
        ({"template": "critic"}, "critic", "critic"),
        ({"apply_template": True}, "idle", "idle"),
        ({"rebuild_config": True}, "org-templates/ada", "org-templates/ada"),
        ({"apply_template": True, "rebuild_config": True}, "org-templates/ada", "org-templates/ada"),
    ],
)
async def test_a_restart_writes_anew_what_it_is_told_to(
    here: World, wish: dict[str, Any], source: str, found: str
) -> None:
    workspace = await here.waiting_for_agent(name="Ada")
    await edit(here, workspace)

    assert await restarted(here, workspace, **wish) == source
    assert ((await config(here, workspace))["from"], await read(here, workspace, "system-prompt.md")) == (
        found,
        found.encode(),
    )
    assert (await here.row(workspace)).apply_config is False


@pytest.mark.parametrize("target", ["/etc/passwd", "nowhere"])
async def test_a_link_in_the_place_of_the_configuration_is_none(here: World, target: str) -> None:
    workspace = await here.waiting_for_agent(config_template="critic")
    link = tarfile.TarInfo("config.yaml")
    link.type, link.linkname = tarfile.SYMTYPE, target
    await put_entry(here, (await here.inspected(workspace))["Id"], "/configs", link)
    await restarted(here, workspace)

    assert (await config(here, workspace))["from"] == "critic"


async def test_a_configuration_is_rebuilt_from_where_it_came(here: World) -> None:
    workspace = await here.waiting_for_agent(name="nobody")
    await edit(here, workspace, b"broken: [")

    assert await restarted(here, workspace, rebuild_config=True) == "rebuilt"
    assert (await config(here, workspace))["version"] == "1.0.0"


async def test_an_edited_configuration_that_cannot_be_read_fails_in_words_and_stays(here: World) -> None:
    workspace = await here.online()
    await edit(here, workspace, b"broken: [")
    await here.lifecycle.restart(workspace)
    await here.fulfil()

    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.status, row.failure.message) == (
        WorkspaceStatus.FAILED,
        "config.yaml in the container is not valid YAML",
    )
    assert await read(here, workspace, "config.yaml") == b"broken: ["  # the old container was not touched


async def test_a_template_that_is_not_there_is_refused_with_those_that_are(here: World) -> None:
    workspace = await here.create()

    with pytest.raises(InvalidRequestError, match="there is no config template nope") as caught:
        await here.lifecycle.restart(workspace, RestartWish(template="nope"))
    assert (caught.value.code, caught.value.hint) == ("invalid_template", "CONFIGS_DIR has: critic, idle")


async def test_what_an_edited_configuration_needs_is_checked_before_the_old_container_goes(here: World) -> None:
    workspace = await here.online()
    before = (await here.inspected(workspace))["Id"]
    await edit(here, workspace, b"runtime_config: {required_env: [A_KEY]}\n")
    await here.lifecycle.restart(workspace)
    await here.fulfil()

    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.failure.code, (await here.inspected(workspace))["Id"]) == ("required_env_missing", before)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_session_is_kept_unless_a_restart_forgets_it(here: World, *, reset: bool) -> None:
    workspace = await here.waiting_for_agent("claude-code")
    container = (await here.inspected(workspace))["Id"]
    await put(here, container, "/root/.claude/sessions", b"said before", "memory")
    await restarted(here, workspace, reset_session=reset)

    container = (await here.inspected(workspace))["Id"]
    kept = await exists(here, container, "/root/.claude/sessions/memory")
    volume = await here.api.get(f"/volumes/{names.session_volume(workspace)}")
    assert (kept, volume["Labels"][names.WORKSPACE_ID], (await here.row(workspace)).reset_session) == (
        not reset,
        workspace,
        False,
    )


async def exists(here: World, container: str, path: str) -> bool:
    try:
        return bool(await file_in(here.api, container, path))
    except EngineError as error:
        if error.status != 404:
            raise
        return False


def write(path: Path, text: str) -> None:
    path.write_text(text)
