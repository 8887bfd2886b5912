"""The engine is stopped, or killed, and started again under load."""

from collections.abc import Callable

import pytest

from support.private_engine import PrivateEngine
from support.server import eventually

from .ground import Ground
from .table import Trial

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

RUNNING, COMING = 4, 4


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_the_engine_is_away_under_load(
    ground: Ground, own_engine: PrivateEngine, trial: Callable[[str, str], Trial], how: str
) -> None:
    row = trial("engine", f"dockerd {how} and started under load")
    wanted = await under_load(ground)
    (own_engine.stop if how == "stopped" else own_engine.kill)()

    async def noticed() -> bool:
        return (await ground.server.client.get("/ready")).status_code == 503

    await eventually(noticed, "the server says that the engine is away")
    row.hit()
    wanted.add(await ground.create("accepted meanwhile"))
    own_engine.start()
    at_worst = await ground.things()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (wanted, [])


async def under_load(ground: Ground) -> set[str]:
    """Some run, one of which is restarted now; one goes, some come: those that are to be there in the end."""
    running = [await ground.online(f"running-{number}") for number in range(RUNNING)]
    coming = [await ground.create(f"coming-{number}") for number in range(COMING)]
    going = running.pop()
    await ground.server.call("POST", f"/workspaces/{running[0]}/restart")
    await ground.server.call("DELETE", f"/workspaces/{going}?purge=true")
    return {*running, *coming}
