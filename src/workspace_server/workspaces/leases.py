"""One server at a time works on a workspace: the one that holds its lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from workspace_server.db import Database, LeaseStore
from workspace_server.db.leases import LEASE_SECONDS
from workspace_server.errors import UnavailableError

log = structlog.get_logger(__name__)

RENEW_SECONDS = LEASE_SECONDS / 4
_PATIENCE = RENEW_SECONDS / 2
"""How long a renewal may take: with it, work ends before another server may take over."""


@dataclass(slots=True)
class _Held:
    """Who works under a lease here, and until when it holds by this process's clock; None before it was taken."""

    tasks: set["asyncio.Task[object]"] = field(default_factory=set)
    until: float | None = None


class Leases:
    """The leases of this server. Tasks of its own share one: they take turns by themselves.

    A lease is kept for a while after the work, so that what is tried again and again is not written each time.
    """

    def __init__(self, *, database: Database, store: LeaseStore) -> None:
        self._database = database
        self._store = store
        self._held: dict[str, _Held] = {}

    async def void_earlier(self) -> None:
        """Forget the leases of this server's earlier starts. Raises UnavailableError."""
        async with self._database.write(durable=False) as tx:
            await self._store.void_earlier(tx)

    @asynccontextmanager
    async def hold(self, workspace_id: str) -> AsyncIterator[bool]:
        """Whether this server may work on the workspace; if so, until the block is left. Raises UnavailableError.

        The task is cancelled when the lease is lost.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        lease = self._held.setdefault(workspace_id, _Held())
        lease.tasks.add(task)
        try:
            yield await self._is_mine(workspace_id, lease)
        finally:
            lease.tasks.discard(task)

    async def _is_mine(self, workspace_id: str, lease: _Held) -> bool:
        now = _clock()
        if lease.until is not None and lease.until - now > RENEW_SECONDS:
            return True
        async with self._database.write(durable=False) as tx:
            taken = await self._store.take(tx, workspace_id)
        lease.until = now + LEASE_SECONDS if taken else None
        return taken

    async def renew(self) -> None:
        """Hold on to those under which somebody works, and give back the others.

        The work under those that are lost, or may be while the database is away, is ended.
        """
        busy = {key: lease for key, lease in self._held.items() if lease.tasks and lease.until is not None}
        idle = [key for key, lease in self._held.items() if not lease.tasks]
        for key in idle:  # before they are given back: who begins now takes them anew, after that
            del self._held[key]
        if not (busy or idle):
            return
        now = _clock()
        try:
            async with asyncio.timeout(_PATIENCE), self._database.write(durable=False) as tx:
                await self._store.give_back(tx, idle)
                mine = await self._store.renew(tx, busy)
        except (UnavailableError, TimeoutError) as error:
            log.warning("leases cannot be renewed", error=str(error) or f"the database is silent for {_PATIENCE:g} s")
            soon = _clock() + RENEW_SECONDS
            mine = {key for key, lease in busy.items() if (lease.until or 0.0) > soon}
        else:
            for key in mine:
                busy[key].until = now + LEASE_SECONDS
        for key in busy.keys() - mine:
            self._end_work(key, busy[key])

    def _end_work(self, workspace_id: str, lease: _Held) -> None:
        log.warning("another server may work on the workspace by now", workspace=workspace_id)
        lease.until = None
        for task in lease.tasks:
            task.cancel()

    async def close(self) -> None:
        """Give back all, once nobody works any more: another server need not wait."""
        try:
            async with self._database.write(durable=False) as tx:
                await self._store.give_back(tx, self._held)
        except UnavailableError as error:
            log.warning("leases lapse by themselves", code=error.code, error=error.message)


def _clock() -> float:
    return asyncio.get_running_loop().time()
