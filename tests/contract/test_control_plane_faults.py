"""A control plane that is slow, broken, cut off or lies: what was asked for happens, and no machine is leaked.

Prints one table. The agents call as soon as their machine is there, whether or not their server knows it yet.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.control_plane import BIG, LOST, Answer, ControlPlane, Fault, Machine, told
from support.server import InProcess, eventually
from workspace_server.control_plane.machines import ControlPlane as Client
from workspace_server.errors import AuthError
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.wiring import links

from .ledger import Ledger, Trial, watched
from .stands import AGENT, ControlPlaneGround, Stand, control_plane_stand

_SECONDS = 1.0

Make = Callable[[ControlPlane, str], Fault]


def fault(answer: Any = None, **how: Any) -> Make:
    return lambda served, kind: served.fault(kind, answer, **how)


ANY: dict[str, Make] = {
    "500, not done": fault(told(500, error="x"), acts=0),
    "500, but done": fault(told(500, error="x")),
    "503 three times": fault(told(503), acts=0, times=3),
    "answer lost, not done": fault(LOST, acts=0),
    "answer lost, but done": fault(LOST),
    "answer lost three times, but done": fault(LOST, times=3),
    "cut in the head of the answer": fault(lambda right: Answer(right.status, right.body, cut=0)),
    "cut in the body of the answer": fault(lambda right: Answer(right.status, right.body, cut=3)),
    "redirected": fault(Answer(307, b"", headers={"Location": "/elsewhere"}), acts=0),
    "10 MiB": fault(lambda right: Answer(right.status, right.body[:-1] + b" " * BIG + b"}")),
    "too slow, but done": fault(late=3600),
    "delivered twice": fault(acts=2),
    "for the moment refused (429)": fault(told(429, error="slow down"), acts=0),
}
WITH_A_BODY: dict[str, Make] = {
    "bad JSON": fault(lambda right: Answer(right.status, right.body[:-1])),
    "JSON of another kind": fault(lambda right: Answer(right.status, b"[1]")),
    "wrong content type": fault(lambda right: Answer(right.status, right.body, "text/html")),
}
START: dict[str, Make] = {
    **ANY,
    **WITH_A_BODY,
    "a proxy's 404": fault(Answer(404, b"404 page not found", "text/plain"), acts=0),
    "200 instead of 201": fault(lambda right: Answer(200, right.body)),
    "no id in the answer": fault(told(201, state="pending")),
    "the workspace's id for the machine's": fault(told(201, instance_id="0123abcd-4567-89ab-cdef-0123456789ab" * 9)),
}
STOP: dict[str, Make] = {
    **ANY,
    "accepted, not done": fault(told(200), acts=0),
    "there is none, it says, and it runs on": fault(told(404, error="no such instance"), acts=0),
    "refused (409), as it has ended": fault(told(409, error="it has ended")),
    "a proxy's 404": fault(Answer(404, b"404 page not found", "text/plain"), acts=0),
}
REFUSALS: dict[str, Make] = {
    "refused twice (409)": fault(told(409, error="protected"), acts=0, times=2),
    "refused twice (403)": fault(told(403, error="not yours"), acts=0, times=2),
}
STATUS: dict[str, Make] = {
    **ANY,
    **WITH_A_BODY,
    "a proxy's 404": fault(Answer(404, b"404 page not found", "text/plain")),
    "a state that is none": fault(told(200, state="exploded")),
    "no state": fault(told(200)),
    "there is none, it says, and it runs on": fault(told(404, error="no such instance")),
    "it is stopping, it says": fault(told(200, state="stopping"), times=3),
    "it is pending, it says": fault(told(200, state="pending"), times=3),
    "it runs, it says": fault(told(200, state="running"), times=3),
}
DEATHS: dict[str, Make] = {
    "it is terminated, it says, and runs on": fault(told(200, state="terminated")),
}

CASES = [
    *(("create", "start", name, START[name]) for name in START),
    *(("create", "status", name, STATUS[name]) for name in STATUS),
    *(("restart", "start", name, START[name]) for name in START),
    *(("pause", "stop", name, REFUSALS[name]) for name in REFUSALS),
    *(("delete", "stop", name, REFUSALS[name]) for name in REFUSALS),
    *(("restart", "stop", name, STOP[name]) for name in STOP),
    *(("restart", "status", name, STATUS[name]) for name in STATUS),
    *(("pause", "stop", name, STOP[name]) for name in STOP),
    *(("delete", "stop", name, STOP[name]) for name in STOP),
    *(("delete", "status", name, STATUS[name]) for name in STATUS),
    *(("rest", "status", name, STATUS[name]) for name in STATUS),
    *(("rest", "status", name, DEATHS[name]) for name in DEATHS),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ControlPlane", partial(Client, seconds=_SECONDS))


@pytest.fixture
async def hosted(tmp_path: Path) -> AsyncIterator[Stand]:
    (tmp_path / "home").mkdir()
    async with control_plane_stand(tmp_path) as stand:
        calling = asyncio.create_task(agents(stand))
        try:
            yield stand
        finally:
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling


async def agents(stand: Stand) -> None:
    """Every machine's agent calls as soon as its machine is there, while there is a server."""
    while True:
        for machine in served_by(stand).running:
            if (app := stand.app) is not None:
                await call_if_awaited(app, machine)
        await asyncio.sleep(0.02)


async def call_if_awaited(app: InProcess, machine: Machine) -> None:
    row = await app.services.store.get(machine.workspace_id)
    waits = row is not None and row.status is WorkspaceStatus.PROVISIONING
    if waits and row is not None and str(row.generation) == machine.generation:
        with suppress(AuthError):  # removed meanwhile
            await app.services.registry.register(machine.workspace_id, {"name": "agent"}, AGENT)


def served_by(stand: Stand) -> ControlPlane:
    assert isinstance(stand.ground, ControlPlaneGround)
    return stand.ground.served


def keeping_books(stand: Stand, row: Trial) -> AbstractAsyncContextManager[Ledger]:
    return watched(served_by(stand), stand.directory, stand.directory / ".local/share/molecule", row)


async def act(stand: Stand, what: str, workspace: str) -> None:
    match what:
        case "restart" | "pause":
            await stand.call("POST", f"/workspaces/{workspace}/{what}")
        case "delete":
            await stand.call("DELETE", f"/workspaces/{workspace}")
        case _:
            pass


async def is_as_wanted(stand: Stand, what: str, workspace: str) -> bool:
    """Whether exactly what is wanted runs, and its row says so."""
    running, row = await stand.ground.running(workspace), await stand.row(workspace)
    match what:
        case "delete":
            return not running and not await stand.opened.services.store.to_clear()
        case "pause":
            return not running and row.status == "paused"
        case _:
            return len(running) == 1 and row.status == "online"


async def until_well(stand: Stand, what: str, workspace: str, ledger: Ledger) -> None:
    """As wanted, and nothing is lost or leaked, three times in a row."""

    async def well() -> bool:
        for _ in range(3):
            leaked, lost = await ledger.compare()
            if leaked or lost or not await is_as_wanted(stand, what, workspace):
                return False
            await asyncio.sleep(0.1)
        return True

    await eventually(well, f"{what} is done, and nothing is left over", 40)


# The ordinary run tries those of a workspace's first call, which starts its machine; the suite of faults, all.
_ORDINARY = ("create", "start")
_MARKED = [pytest.param(each, marks=() if each[:2] == _ORDINARY else pytest.mark.faults) for each in CASES]


@pytest.mark.parametrize("case", _MARKED, ids=["-".join(case[:3]) for case in CASES])
async def test_a_fault_delays_what_is_wanted_and_leaks_nothing(
    hosted: Stand, trial: Callable[[str, str], Trial], case: tuple[str, str, str, Make]
) -> None:
    what, kind, name, make = case
    row, served = trial(f"{what}: {kind}", name), served_by(hosted)
    workspace = "" if what == "create" else await hosted.create()
    if workspace:
        await hosted.until(workspace, "online")
    injected = make(served, kind)
    async with keeping_books(hosted, row) as ledger:
        workspace = workspace or await hosted.create()
        await act(hosted, what, workspace)
        await eventually(lambda: injected.fired == injected.times, "the fault happened", 40)
        await until_well(hosted, what, workspace, ledger)
    row.injected, row.survived = injected.fired, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())
    if what in ("create", "rest") and name not in DEATHS:
        assert len(served.machines) == 1  # nothing of that is a reason to start another


AFTERWARDS: dict[str, Callable[[Stand, str], Awaitable[None]]] = {
    what: (lambda stand, workspace, what=what: act(stand, what, workspace))  # type: ignore[misc] - bound at once
    for what in ("delete", "pause", "restart")
}


@pytest.mark.parametrize("what", [*AFTERWARDS, "server stops, and starts"])
@pytest.mark.parametrize("done", [True, False], ids=["made", "not made"])
async def test_a_machine_whose_start_was_not_answered_is_confirmed_or_ended(
    hosted: Stand, trial: Callable[[str, str], Trial], what: str, *, done: bool
) -> None:
    """The control plane answers nothing about starts until something else is wanted."""
    row, served = (
        trial("create: start", f"answer lost, {'done' if done else 'not done'}; then: {what}"),
        served_by(hosted),
    )
    injected = served.fault("start", LOST, acts=int(done), times=1000)
    async with keeping_books(hosted, row) as ledger:
        workspace = await hosted.create()
        await eventually(lambda: injected.fired > 0, "the answer was lost")
        if not done:
            row_says = await hosted.until(workspace, "provisioning")

            async def unknown() -> bool:
                failure = (await hosted.row(workspace)).failure
                return failure is not None and failure.code == "instance_unknown"

            await eventually(unknown, "the row says that it is not known")
            assert row_says.status == "provisioning"
        if what in AFTERWARDS:
            await AFTERWARDS[what](hosted, workspace)
        else:
            await hosted.restart()
        injected.times = injected.fired
        await until_well(hosted, what, workspace, ledger)
    row.injected, row.survived = injected.fired, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


@pytest.mark.parametrize("kind", ["start", "stop"])
async def test_a_restart_that_is_refused_fails_with_the_words_and_a_person_repeats_it(
    hosted: Stand, trial: Callable[[str, str], Trial], kind: str
) -> None:
    row, served = trial(f"restart: {kind}", "refused (402); restarted by a person"), served_by(hosted)
    workspace = await hosted.create()
    await hosted.until(workspace, "online")
    injected = served.fault(kind, told(402, error="the bill is open"), acts=0)
    async with keeping_books(hosted, row) as ledger:
        await act(hosted, "restart", workspace)
        assert await hosted.fails(workspace) == "control_plane_refused"
        assert "(HTTP 402): the bill is open" in (await hosted.row(workspace)).last_sample_error
        assert len(await hosted.ground.running(workspace)) == (1 if kind == "stop" else 0)
        await act(hosted, "restart", workspace)
        await until_well(hosted, "restart", workspace, ledger)
    row.injected, row.survived = injected.fired, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


@pytest.mark.parametrize("what", ["create", "restart", "pause", "delete"])
async def test_a_control_plane_that_is_away_delays_what_is_wanted(
    hosted: Stand, trial: Callable[[str, str], Trial], what: str
) -> None:
    row = trial(f"{what}: all", "away for 2 s")
    workspace = "" if what == "create" else await hosted.create()
    if workspace:
        await hosted.until(workspace, "online")
    async with keeping_books(hosted, row) as ledger:
        await hosted.ground.down()
        workspace = workspace or await hosted.create()
        await act(hosted, what, workspace)
        await asyncio.sleep(2)
        await hosted.ground.up()
        await until_well(hosted, what, workspace, ledger)
    row.injected, row.survived = 1, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


async def test_what_arrives_after_everything_is_over_starts_nothing(
    hosted: Stand, trial: Callable[[str, str], Trial]
) -> None:
    """The order was on its way all the time; meanwhile it was repeated, its machine was made and ended."""
    row, served = trial("delete: start", "the order arrives when all is over"), served_by(hosted)
    gate = asyncio.Event()
    injected = served.fault("start", hold=gate)
    async with keeping_books(hosted, row) as ledger:
        workspace = await hosted.create()
        await injected.arrived.wait()
        await hosted.call("DELETE", f"/workspaces/{workspace}")
        await until_well(hosted, "delete", workspace, ledger)
        gate.set()
        await asyncio.sleep(0.3)
        await until_well(hosted, "delete", workspace, ledger)
    row.injected, row.survived = injected.fired, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


async def test_a_machine_that_the_control_plane_forgets_is_replaced_when_it_has_said_so_for_long(
    hosted: Stand, trial: Callable[[str, str], Trial]
) -> None:
    row, served = trial("rest: status", "there is none, it says, for long"), served_by(hosted)
    workspace = await hosted.create()
    await hosted.until(workspace, "online")
    async with keeping_books(hosted, row) as ledger:
        (machine,) = served.of(workspace)
        del served.machines[machine.id]
        await eventually(lambda: served.of(workspace), "another one runs")
        await until_well(hosted, "rest", workspace, ledger)
    row.injected, row.survived = 1, True

    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


@pytest.mark.parametrize("kind", ["stop", "status"])
async def test_a_silent_agents_machine_that_cannot_be_ended_at_once_is_ended_later(
    hosted: Stand, trial: Callable[[str, str], Trial], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """And the workspace says that its agent was silent, and nothing else."""
    row, served = trial(f"silence: {kind}", "503 until it failed"), served_by(hosted)
    monkeypatch.setattr(f"{__name__}.call_if_awaited", never)
    await hosted.restart(PROVISION_TIMEOUT_SECONDS="1")
    async with keeping_books(hosted, row):
        workspace = await hosted.create()
        await hosted.until_runs(workspace)
        injected = served.fault(kind, told(503), acts=0, times=1000)
        assert await hosted.fails(workspace) == "agent_silent"
        injected.times = injected.fired
        await hosted.until_nothing_runs(workspace)
    row.injected, row.survived = injected.fired, True

    assert len(served.machines) == 1
    assert (row.leaked, row.leaked_after, row.lost_after) == (set(), set(), set())


async def never(app: InProcess, machine: Machine) -> None:
    """This agent does not call."""
