"""A hundred workspaces, created, restarted and deleted at random; the server is killed in between."""

import asyncio
import os
import random
import time
from collections.abc import Callable

import httpx
import pytest

from .ground import Ground
from .table import Trial

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(1800)]

WORKSPACES = 100
SECONDS = float(os.environ.get("MOLECULE_TEST_RANDOM_SECONDS", "300"))
KILL_EVERY_SECONDS = 60.0
AT_ONCE = 4
RETRIES = 100


class Crowd:
    """What was acknowledged: who must be there in the end, and who must not."""

    def __init__(self, ground: Ground) -> None:
        self.present: list[str] = []
        self.deeds = 0
        self._ground = ground
        self._busy: set[str] = set()
        self._random = random.Random(os.environ.get("MOLECULE_TEST_RANDOM_SEED", "1"))

    async def act_until(self, end: float) -> None:
        """One deed after the other."""
        while time.monotonic() < end:
            free = [each for each in self.present if each not in self._busy]
            if (len(self.present) < WORKSPACES and self._random.random() < 0.6) or not free:
                await self._create()
            else:
                chosen = self._random.choice(free)
                self._busy.add(chosen)
                await (self._restart(chosen) if self._random.random() < 0.6 else self._delete(chosen))
                self._busy.discard(chosen)
            self.deeds += 1

    async def _create(self) -> None:
        # A create whose answer was lost may have been done: what has this name is found out when it is asked again.
        body = {"name": f"crowd-{self.deeds}", "runtime": "langgraph"}
        answer = await self._send("POST", "/workspaces", body, repeat=False)
        if answer is not None and answer.status_code == httpx.codes.CREATED:
            self.present.append(answer.json()["id"])
            self._ground.made.append(answer.json()["id"])

    async def _restart(self, workspace: str) -> None:
        answer = await self._send("POST", f"/workspaces/{workspace}/restart")
        assert answer is not None
        assert answer.status_code == httpx.codes.OK, answer.text

    async def _delete(self, workspace: str) -> None:
        answer = await self._send("DELETE", f"/workspaces/{workspace}?purge=true")
        assert answer is not None
        # Asked a second time, because the first answer was lost, it may be gone.
        assert answer.status_code in (httpx.codes.OK, httpx.codes.NOT_FOUND), answer.text
        self.present.remove(workspace)

    async def _send(self, method: str, path: str, body: object = None, *, repeat: bool = True) -> httpx.Response | None:
        for _ in range(RETRIES if repeat else 1):
            try:
                return await self._ground.server.client.request(method, path, json=body)
            except httpx.TransportError:
                await asyncio.sleep(0.3)  # the server was killed
        return None


async def test_a_crowd_at_random(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    row = trial("random", f"{WORKSPACES} workspaces, {SECONDS:g} s, kill -9 every {KILL_EVERY_SECONDS:g} s")
    crowd = Crowd(ground)
    end = time.monotonic() + SECONDS
    acting = [asyncio.create_task(crowd.act_until(end)) for _ in range(AT_ONCE)]
    while (left := end - time.monotonic()) > 0:
        await asyncio.wait(acting, timeout=min(KILL_EVERY_SECONDS, left))
        await ground.server.kill()
        row.hit()
        await ground.server.start()
    await asyncio.gather(*acting)
    at_worst = await ground.things()
    row.name += f": {crowd.deeds} requests"
    row.over()
    await ground.recovers(row, at_worst, seconds=600)
    assert (set(crowd.present) - set(await ground.rows()), row.after) == (set(), [])
