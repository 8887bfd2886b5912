"""What a database has to be for this program, and what its servers tell each other through it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Topic(StrEnum):
    """What a notice is about."""

    WORKSPACE = "workspace"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Notice:
    """A row that a transaction wrote: a workspace that changed, or a new event; ``key`` is its id."""

    topic: Topic
    key: str


class Backend(Protocol):
    """SQLite or PostgreSQL. Every writing transaction of all servers comes after the one before, from its start."""

    @property
    def where(self) -> str:
        """The database, to be shown to its owner: without a password."""

    @property
    def elsewhere(self) -> str:
        """How its owner names another one, as the end of a hint."""

    def engines(self) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
        """Of readers, of writers, and of writers whose newest changes may be lost with the machine's power."""

    def translated(self) -> AbstractContextManager[None]:
        """Turns errors of the driver into UnavailableError. Mistakes in our SQL stay what they are: bugs."""

    async def tell(self, connection: AsyncConnection, notices: Sequence[Notice]) -> None:
        """Let the other servers know, once the connection's transaction is committed."""

    def hear(self) -> AsyncGenerator[Notice | None, None]:
        """What the other servers tell, in the order of their commits; None when something may have been missed.

        It outlasts the database's absence, and ends at once where there can be no other server.
        """
