"""A hosted server, its machines and their agents, over the wire from end to end; and killed at every point."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from support.control_plane import ControlPlane, control_plane
from support.server import ServerProcess, eventually

from .hosted import hosted_server
from .ledger import Ledger, Trial, watched

pytestmark = pytest.mark.slow

MESSAGE = {"method": "message/send", "params": {"message": {"role": "user", "parts": [{"kind": "text", "text": "hi"}]}}}

POINTS = [
    ("create", "start", "before"),
    ("create", "start", "after"),
    ("create", "status", "before"),
    ("restart", "stop", "before"),
    ("restart", "stop", "after"),
    ("restart", "status", "before"),
    ("restart", "start", "before"),
    ("restart", "start", "after"),
    ("pause", "stop", "before"),
    ("pause", "stop", "after"),
    ("pause", "status", "before"),
    ("delete", "stop", "before"),
    ("delete", "stop", "after"),
    ("delete", "status", "before"),
]


@pytest.fixture
async def served() -> AsyncIterator[ControlPlane]:
    async with control_plane(with_agents=True) as opened:
        yield opened


@pytest.fixture
async def server(served: ControlPlane, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with hosted_server(tmp_path, served) as opened:
        yield opened


async def status(server: ServerProcess, workspace: str) -> str:
    return str((await server.view(workspace))["status"])


async def begin(server: ServerProcess, what: str, workspace: str) -> str:
    match what:
        case "create":
            return await server.create("langgraph")
        case "delete":
            await server.call("DELETE", f"/workspaces/{workspace}")
        case _:
            await server.call("POST", f"/workspaces/{workspace}/{what}")
    return workspace


async def until_well(server: ServerProcess, served: ControlPlane, what: str, workspace: str, ledger: Ledger) -> None:
    wanted = {"delete": "removed", "pause": "paused"}.get(what, "online")

    async def well() -> bool:
        leaked, lost = await ledger.compare()
        here = len(served.of(workspace)) == (1 if wanted == "online" else 0)
        return not leaked and not lost and here and await status(server, workspace) == wanted

    await eventually(well, f"{what} is done, and nothing is left over", 60)


async def test_a_workspace_lives_from_its_create_to_its_end_without_an_engine(
    server: ServerProcess, served: ControlPlane
) -> None:
    workspace = await server.create("langgraph", secrets={"KEY": "value"})
    await server.until(workspace, "online")
    reply = await server.call("POST", f"/workspaces/{workspace}/a2a", MESSAGE)
    assert reply["result"]["parts"] == [{"kind": "text", "text": "hi"}]
    assert (await server.call("GET", f"/workspaces/{workspace}/console"))["output"] == served.console
    (first,) = served.of(workspace)

    served.end(first)  # it dies
    await eventually(lambda: [each for each in served.of(workspace) if each is not first], "it is replaced", 40)
    await server.until(workspace, "online")
    await server.call("POST", f"/workspaces/{workspace}/pause")
    await eventually(lambda: not served.of(workspace), "it is paused", 30)
    await server.call("POST", f"/workspaces/{workspace}/resume")
    await server.until(workspace, "online")
    assert (await server.call("POST", f"/workspaces/{workspace}/a2a", MESSAGE))["result"]["parts"][0]["text"] == "hi"
    await server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await eventually(lambda: not served.running, "nothing runs", 30)

    (card,) = {machine.env["KEY"] for machine in served.machines.values()}
    assert card == "value"
    assert "value" not in server.log.read_text()


async def test_an_agents_second_call_without_its_token_is_refused(server: ServerProcess, served: ControlPlane) -> None:
    workspace = await server.create("langgraph")
    await server.until(workspace, "online")
    body = {"id": workspace, "url": "http://127.0.0.1:1", "agent_card": {}}
    server.client.headers.pop("authorization")

    assert (await server.client.post("/registry/register", json=body)).status_code == 401


async def test_nobody_registers_for_a_workspace_whose_machine_was_not_asked_for(
    server: ServerProcess, served: ControlPlane
) -> None:
    hold = asyncio.Event()
    workspace = await server.create("langgraph")
    await server.until(workspace, "online")
    fault = served.fault("stop", hold=hold)
    await server.call("POST", f"/workspaces/{workspace}/restart")
    await fault.arrived.wait()
    body = {"id": workspace, "url": "http://127.0.0.1:1", "agent_card": {}}
    server.client.headers.pop("authorization")

    assert (await server.client.post("/registry/register", json=body)).status_code == 401
    hold.set()


_ORDINARY = ("create", "start", "after")  # the suite of faults tries all
_MARKED = [pytest.param(each, marks=() if each == _ORDINARY else pytest.mark.faults) for each in POINTS]


@pytest.mark.parametrize("point", _MARKED, ids=["-".join(point) for point in POINTS])
async def test_a_server_that_is_killed_leaks_no_machine(
    server: ServerProcess, served: ControlPlane, trial: Callable[[str, str], Trial], point: tuple[str, str, str]
) -> None:
    what, kind, when = point
    row = trial(f"{what}: {kind}", f"kill -9, {when} it is done")
    workspace = ""
    if what != "create":
        workspace = await server.create("langgraph")
        await server.until(workspace, "online")
    gate = asyncio.Event()
    how: dict[str, Any] = {"hold": gate} if when == "before" else {"late": 3600}
    fault = served.fault(kind, **how)
    async with watched(served, server.home.parent, server.data, row) as ledger:
        workspace = await begin(server, what, workspace)
        await asyncio.wait_for((fault.arrived if when == "before" else fault.acted).wait(), 40)
        await server.kill()
        gate.set()  # what was on its way arrives after all
        await server.start()
        await until_well(server, served, what, workspace, ledger)
    row.injected, row.survived = fault.fired, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())
