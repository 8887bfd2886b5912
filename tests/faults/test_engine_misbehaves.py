"""The engine answers slowly, cuts its answers off, or fails with 500, at each call of a create, a restart, a delete."""

from collections.abc import Callable

import pytest

from support.server import Json, eventually

from .ground import Ground
from .table import Trial
from .test_kill import CONTAINER, COPY, CREATE, IMAGE, START, VOLUME, VOLUMES, WAIT

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

SLOW_SECONDS = 2
CALLS = [
    ("GET", IMAGE),
    ("GET", "/networks"),
    ("GET", "/volumes"),
    ("POST", VOLUMES),
    ("GET", "/containers/json"),
    ("POST", CREATE),
    ("PUT", COPY),
    ("POST", START),
    ("GET", "/containers/[^/]+/json"),
    ("POST", WAIT),
    ("DELETE", CONTAINER),
    ("DELETE", VOLUME),
]


async def everything(ground: Ground, row: Trial) -> None:
    """Create, restart and delete one workspace, whatever becomes of each; a person restarts what failed."""
    workspace = await ground.create("b")
    await settled(ground, workspace)
    await ground.server.call("POST", f"/workspaces/{workspace}/restart")
    await settled(ground, workspace)
    row.before = await ground.left_over()
    other = await ground.create("c")
    await ground.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await settled(ground, other)
    at_worst = await ground.things()
    if (await ground.server.view(other))["status"] == "failed":
        await ground.server.call("POST", f"/workspaces/{other}/restart")
    row.over()
    await ground.recovers(row, at_worst)
    await ground.server.call("DELETE", f"/workspaces/{other}?purge=true")
    await ground.is_gone(other)


async def settled(ground: Ground, workspace: str) -> None:
    """Wait until it is online, or failed with a code."""

    async def seen() -> Json:
        view = await ground.server.view(workspace)
        waits = view["status"] == "provisioning" or any(phase["state"] == "running" for phase in view["phases"])
        return None if waits else view

    view = await eventually(seen, "it is online or failed", 120)
    if view["status"] == "failed":
        assert view["error"]["code"]


async def test_an_engine_that_answers_slowly(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    await ground.online()
    row = trial("engine", f"every answer {SLOW_SECONDS} s late")
    hold = ground.proxy.faults.hold(None, ".*", when="before", seconds=SLOW_SECONDS)
    await everything(ground, row)
    row.injected = hold.passed
    assert (row.after, row.injected > len(CALLS)) == ([], True)


@pytest.mark.parametrize("bytes_sent", [0, 1], ids=["without an answer", "in the middle"])
async def test_an_engine_that_cuts_its_answers_off(
    ground: Ground, trial: Callable[[str, str], Trial], bytes_sent: int, request: pytest.FixtureRequest
) -> None:
    await ground.online()
    for method, call in CALLS:
        row = trial("engine", f"{method} {call} cut off {request.node.callspec.id}")
        rule = ground.proxy.faults.cut_off(method, call, bytes_sent, times=2)
        await everything(ground, row)
        row.injected = 2 - (rule.times or 0)
        ground.proxy.faults.clear()
        assert row.after == []


async def test_an_engine_that_fails(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    await ground.online()
    for method, call in CALLS:
        row = trial("engine", f"{method} {call} answers 500")
        rule = ground.proxy.faults.answer(method, call, times=2)
        await everything(ground, row)
        row.injected = 2 - (rule.times or 0)
        ground.proxy.faults.clear()
        assert row.after == []
