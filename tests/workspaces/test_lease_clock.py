"""Work ends before its lease can have lapsed, though the database is silent. Two servers: test_leases.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from workspace_server.workspaces import leases
from workspace_server.workspaces.leases import Leases


class Silent:
    """A database and its store: the first lease is given at once, and no renewal is ever answered."""

    def __init__(self) -> None:
        self.asked = 0

    @asynccontextmanager
    async def write(self, *, durable: bool) -> AsyncIterator[None]:
        self.asked += 1
        if self.asked > 1:
            await asyncio.Event().wait()
        yield

    async def take(self, tx: None, workspace_id: str) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "works_on"), [(15.0, True), (44.9, True), (45.0, False), (60.0, False)])
async def test_work_goes_on_only_as_long_as_its_lease_holds_for_another_round(
    monkeypatch: pytest.MonkeyPatch, seconds: float, *, works_on: bool
) -> None:
    silent, now, began = cast("Any", Silent()), 0.0, asyncio.Event()
    monkeypatch.setattr(leases, "_PATIENCE", 0.01)
    monkeypatch.setattr(leases, "_clock", lambda: now)
    held = Leases(database=silent, store=silent)

    async def work() -> None:
        async with held.hold("w"):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    now = seconds
    await asyncio.wait_for(held.renew(), 5)
    ended = bool(task.cancelling())
    task.cancel()
    await asyncio.wait([task])

    assert ended is not works_on
