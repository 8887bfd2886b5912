"""The machine's clock jumps: forwards as after a suspend, backwards as when it is set right."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.server import eventually

from .databases import Database
from .ground import Ground, held, open_ground
from .table import Trial
from .test_kill import CREATE

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

LIBRARY = "faketime/libfaketimeMT.so.1"
JUMPS = ("+2h", "-1d")


class Clock:
    """The server's wall clock: the real one, and so much on top. What counts time without it goes on as ever."""

    def __init__(self, directory: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob(f"*/{LIBRARY}"))
        if not libraries:
            pytest.fail("libfaketime is missing: apt-get install faketime", pytrace=False)
        self._file = directory / "clock"
        self.jump("+0")
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # a jump counts at once
            "DONT_FAKE_MONOTONIC": "1",
            # Else a thread's wait with a time-out, and so every hand-over of Python's lock, ends at once: it spins.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def jump(self, offset: str) -> None:
        """Be so far from the real clock, from now on."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset}\n")
        written.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
async def clocked(
    faulty_engine: str, workspace_network: None, tmp_path: Path, clock: Clock, database: Database
) -> AsyncIterator[Ground]:
    async with open_ground(tmp_path, faulty_engine, **clock.environment, **database.settings) as opened:
        yield opened


@pytest.mark.parametrize("jump", JUMPS)
async def test_the_clock_jumps_while_workspaces_run(
    clocked: Ground, clock: Clock, trial: Callable[[str, str], Trial], jump: str
) -> None:
    """Those that run are left alone, also by a server that looks before their next heartbeat; who dies comes back."""
    row = trial("clock", f"jumps by {jump} while workspaces run")
    stay, dies = {await clocked.online(), await clocked.online("b")}, await clocked.online("dies")
    before = {each: (await clocked.container(each))["Id"] for each in (*stay, dies)}
    clock.jump(jump)
    await clocked.engine.call("POST", f"/containers/{before[dies]}/kill")  # so that it looks
    new = await clocked.online("c")
    row.injected += jumped(clocked)
    at_worst = await clocked.things()
    row.over()
    await clocked.recovers(row, at_worst)
    looked = len(clocked.proxy.calls)

    def looked_again() -> bool:
        return sum(each.path == "/containers/json" for each in clocked.proxy.calls[looked:]) > 1

    await eventually(looked_again, "the server compared rows and engine", 40)
    assert await clocked.differences() == []
    after = {each: (await clocked.container(each))["Id"] for each in (*stay, dies)}
    assert {each for each in after if after[each] != before[each]} == {dies}
    assert (set(await clocked.rows()), row.after) == ({*stay, dies, new}, [])


@pytest.mark.parametrize("jump", JUMPS)
async def test_the_clock_jumps_during_a_create_and_the_server_starts_again(
    clocked: Ground, clock: Clock, trial: Callable[[str, str], Trial], jump: str
) -> None:
    row = trial("clock", f"jumps by {jump} during a create, then kill -9")
    await clocked.online()
    hold = clocked.proxy.faults.hold("POST", CREATE, when="after")
    await clocked.create("b")
    await held(hold)
    clock.jump(jump)
    await clocked.server.kill()
    at_worst = await clocked.things()
    clocked.proxy.faults.clear()
    row.over()
    await clocked.server.start()
    await clocked.recovers(row, at_worst)
    row.injected += jumped(clocked)
    assert (len(await clocked.rows()), row.after) == (2, [])


def jumped(ground: Ground) -> bool:
    """Whether the server's own log shows moments more than an hour apart."""
    moments = [datetime.fromisoformat(line["timestamp"]) for line in ground.server.log_lines()]
    return max(moments) - min(moments) > timedelta(hours=1)
