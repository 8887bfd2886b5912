"""Workspace tokens: kept as sha256, shown once, revoked with their workspace."""

import hashlib
import secrets
from uuid import uuid4

import sqlalchemy as sa

from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import now, tokens


class TokenStore:
    """Rows of ``workspace_auth_tokens``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rotate(self, tx: Transaction, workspace_id: str) -> str:
        """Revoke every token of a workspace and issue a new one. The answer is the only time it is seen."""
        await self.revoke_all(tx, workspace_id)
        return await self.issue(tx, workspace_id)

    async def issue(self, tx: Transaction, workspace_id: str) -> str:
        """Issue one more token: 32 random bytes, base64url."""
        token = secrets.token_urlsafe(32)
        await tx.connection.execute(
            sa.insert(tokens).values(
                id=str(uuid4()),
                workspace_id=workspace_id,
                token_hash=_digest(token),
                prefix=token[:8],
                created_at=now(),
            )
        )
        return token

    async def revoke_all(self, tx: Transaction, workspace_id: str) -> None:
        """Revoke every live token of a workspace."""
        await tx.connection.execute(
            sa.update(tokens)
            .where(tokens.c.workspace_id == workspace_id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=now())
        )

    async def owner(self, token: str) -> str | None:
        """The workspace a live token belongs to."""
        query = sa.select(tokens.c.workspace_id).where(
            tokens.c.token_hash == _digest(token), tokens.c.revoked_at.is_(None)
        )
        async with self._database.read() as connection:
            owner: str | None = (await connection.execute(query)).scalar()
            return owner

    async def has_live(self, workspace_id: str) -> bool:
        """Whether a workspace has any live token, so that its agent must show one."""
        query = (
            sa.select(tokens.c.id).where(tokens.c.workspace_id == workspace_id, tokens.c.revoked_at.is_(None)).limit(1)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
