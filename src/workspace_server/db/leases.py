"""Leases: which server works on a workspace. Until when, says the database's clock alone."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from workspace_server.db.database import Transaction
from workspace_server.db.schema import leases

LEASE_SECONDS = 60.0


class LeaseStore:
    """Rows of ``leases``, as one server sees them.

    ``server`` is the server's own over all its starts, ``boot`` of this start alone.
    """

    def __init__(self, *, server: str, boot: str) -> None:
        self._server = server
        self._owner = f"{server}/{boot}"

    async def void_earlier(self, tx: Transaction) -> None:
        """Forget the leases of this server's earlier starts: it is not running twice."""
        await tx.connection.execute(sa.delete(leases).where(leases.c.owner.startswith(f"{self._server}/")))

    async def take(self, tx: Transaction, workspace_id: str) -> bool:
        """Whether the workspace is this server's to work on, for ``LEASE_SECONDS`` from now."""
        here, until = leases.c.workspace_id == workspace_id, _clock() + LEASE_SECONDS
        free = sa.or_(leases.c.owner == self._owner, leases.c.until <= _clock())
        renewed = await tx.connection.execute(
            sa.update(leases).where(here, free).values(owner=self._owner, until=until)
        )
        if renewed.rowcount:
            return True
        if (await tx.connection.execute(sa.select(leases.c.owner).where(here))).first() is not None:
            return False
        row = {"workspace_id": workspace_id, "owner": self._owner, "until": until}
        await tx.connection.execute(sa.insert(leases).values(**row))
        return True

    async def renew(self, tx: Transaction, workspace_ids: Iterable[str]) -> set[str]:
        """Hold on to these for ``LEASE_SECONDS`` more; those that are still this server's."""
        renewed = await tx.connection.execute(
            sa.update(leases)
            .where(leases.c.owner == self._owner, leases.c.workspace_id.in_(workspace_ids))
            .values(until=_clock() + LEASE_SECONDS)
            .returning(leases.c.workspace_id)
        )
        return set(renewed.scalars())

    async def give_back(self, tx: Transaction, workspace_ids: Iterable[str]) -> None:
        """Let others work on these."""
        await tx.connection.execute(
            sa.delete(leases).where(leases.c.owner == self._owner, leases.c.workspace_id.in_(workspace_ids))
        )


class _clock(sa.sql.functions.FunctionElement[float]):  # noqa: N801 - a function of SQL
    """Seconds since 1970, now and not when the transaction began."""

    type = sa.Float()
    inherit_cache = True


@compiles(_clock, "sqlite")
def _of_sqlite(_element: _clock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_clock, "postgresql")
def _of_postgresql(_element: _clock, _compiler: Any, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"
