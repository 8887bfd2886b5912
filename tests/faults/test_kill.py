"""``kill -9`` of the server at named points: the next one finishes what was wanted, and nothing is left over."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest

from support.engine_faults import When
from support.tasks import background

from .ground import Ground, held
from .table import Trial

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(300)]

Deed = Literal["create", "restart", "delete", "refresh"]

IMAGE, NETWORKS, VOLUMES, VOLUME = "/images/molecule-local/.+/json", "/networks", "/volumes/create", "/volumes/.+"
BUILD, TAG, CREATE, CONTAINER = "/build", "/images/.+/tag", "/containers/create", "/containers/[^/]+"
COPY, START, WAIT = "/containers/[^/]+/archive", "/containers/[^/]+/start", "/containers/[^/]+/wait"


@dataclass(frozen=True, slots=True)
class Point:
    """The server is held at a call to the engine, before it is carried out or after, and killed there."""

    deed: Deed
    name: str
    method: str
    call: str
    when: When = "before"


QUICK = [
    Point("create", "container made, unheard", "POST", CREATE, "after"),
    Point("restart", "old container removed, unheard", "DELETE", CONTAINER, "after"),
    Point("delete", "container removed, unheard", "DELETE", CONTAINER, "after"),
]
POINTS = [
    Point("create", "answered, nothing begun", "GET", IMAGE),
    Point("create", "build to begin", "POST", BUILD),
    Point("create", "image built, without a name", "POST", TAG),
    Point("create", "image named, unheard", "POST", TAG, "after"),
    Point("create", "network to be found", "GET", NETWORKS),
    Point("create", "volume to be made", "POST", VOLUMES),
    Point("create", "volume made, unheard", "POST", VOLUMES, "after"),
    Point("create", "container to be made", "POST", CREATE),
    Point("create", "files to be copied", "PUT", COPY),
    Point("create", "files copied, unheard", "PUT", COPY, "after"),
    Point("create", "container to be started", "POST", START),
    Point("create", "container started, unheard", "POST", START, "after"),
    Point("create", "agent to call", "POST", WAIT),
    Point("restart", "old container to be removed", "DELETE", CONTAINER),
    Point("restart", "new container made, unheard", "POST", CREATE, "after"),
    Point("restart", "new container to be started", "POST", START),
    Point("restart", "new container started, unheard", "POST", START, "after"),
    Point("delete", "container to be removed", "DELETE", CONTAINER),
    Point("delete", "volume to be removed", "DELETE", VOLUME),
    Point("delete", "volume removed, unheard", "DELETE", VOLUME, "after"),
    Point("refresh", "build to begin", "POST", BUILD),
    Point("refresh", "new image named, unheard", "POST", TAG, "after"),
    Point("refresh", "old container removed, unheard", "DELETE", CONTAINER, "after"),
    Point("refresh", "new container started, unheard", "POST", START, "after"),
]


async def do(ground: Ground, deed: Deed, workspace: str) -> None:
    """Ask for it; the answer may never come."""
    with suppress(httpx.TransportError):
        match deed:
            case "create":
                await ground.create("b")
            case "restart":
                await ground.server.call("POST", f"/workspaces/{workspace}/restart")
            case "delete":
                await ground.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
            case "refresh":
                await ground.server.call("POST", "/admin/workspace-images/refresh")


@pytest.mark.parametrize(
    "point",
    [*QUICK, *(pytest.param(point, marks=pytest.mark.faults) for point in POINTS)],
    ids=lambda point: f"{point.deed}: {point.name}",
)
async def test_a_server_that_was_killed_is_followed_by_one_that_finishes(
    ground: Ground, trial: Callable[[str, str], Trial], point: Point
) -> None:
    row = trial("kill -9", f"{point.deed}: {point.name}")
    begins_with_nothing = point.deed == "create" and point.call in (BUILD, TAG)
    bystander = "" if begins_with_nothing else await ground.online()
    if point.deed == "refresh":
        await ground.move_template()
    hold = ground.proxy.faults.hold(point.method, point.call, when=point.when)
    async with background(do(ground, point.deed, bystander)):
        await held(hold)
        await ground.server.kill()
        row.hit()
    at_worst = await ground.things()
    ground.proxy.faults.clear()
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    expected = {"delete": 0, "create": 2 - begins_with_nothing}.get(point.deed, 1)
    assert (len(await ground.rows()), row.after) == (expected, [])
