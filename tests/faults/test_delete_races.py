"""A delete while a create is at each of its steps: it wins, and nothing is left over."""

from collections.abc import Callable

import pytest

from support.engine_faults import When

from .ground import Ground, held
from .table import Trial
from .test_kill import COPY, CREATE, IMAGE, NETWORKS, START, VOLUMES, WAIT

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

STEPS: list[tuple[str, str, str, When]] = [
    ("image looked up", "GET", IMAGE, "before"),
    ("image found, unheard", "GET", IMAGE, "after"),
    ("network to be found", "GET", NETWORKS, "before"),
    ("volumes to be listed", "GET", "/volumes", "before"),
    ("volume to be made", "POST", VOLUMES, "before"),
    ("volume made, unheard", "POST", VOLUMES, "after"),
    ("container to be made", "POST", CREATE, "before"),
    ("container made, unheard", "POST", CREATE, "after"),
    ("files to be copied", "PUT", COPY, "before"),
    ("files copied, unheard", "PUT", COPY, "after"),
    ("container to be started", "POST", START, "before"),
    ("container started, unheard", "POST", START, "after"),
    ("address to be found", "GET", "/containers/[^/]+/json", "before"),
    ("agent to call", "POST", WAIT, "before"),
]


async def test_a_delete_wins_at_every_step_of_a_create(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    """The workspaces of one server, one after the other, beside one that stays."""
    stays = await ground.online()
    for name, method, call, when in STEPS:
        row = trial("delete races create", name)
        hold = ground.proxy.faults.hold(method, call, when=when)
        workspace = await ground.create("b")
        await held(hold)
        await ground.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
        row.hit()
        at_worst = await ground.things()
        ground.proxy.faults.clear()
        row.over()
        await ground.recovers(row, at_worst)
        assert ([*await ground.rows()], row.after) == ([stays], [])
