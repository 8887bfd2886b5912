"""Keeping images, checkouts, object stores and logs under a budget: the least recently used go first.

What is in use never goes: an image that a container or a workspace's row names, what a build works with, and what
was used in the last minutes, because a create may be about to use it again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from workspace_server.concurrency import FileLock
from workspace_server.engine import Engine
from workspace_server.errors import ConflictError, UnavailableError, WorkspaceServerError
from workspace_server.git.holdings import Holding, holdings, remove_holding
from workspace_server.images.build import held, lock_path
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.records import BuildBook, BuildRecord
from workspace_server.images.survey import LocalImage, Survey

log = structlog.get_logger(__name__)

_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be kept: bytes of everything together, and a number of images."""

    bytes: int
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that takes room. ``keep`` says why it must stay, ``remove`` removes it."""

    kind: str
    name: str
    bytes: int
    used_at: datetime
    keep: str | None
    remove: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, with the reason; what stayed, with the reason; bytes."""

    removed: list[tuple[Item, str]]
    kept: list[tuple[Item, str]]
    freed: int
    total: int
    budget: Budget


class Pruner:
    """Keeps the local builds of this installation's cache and engine under a budget."""

    def __init__(
        self,
        *,
        engine: Engine,
        survey: Survey,
        book: BuildBook,
        ledger: ImageLedger,
        cache: Path,
        locks: Path,
        budget: Budget,
        used_by_rows: Callable[[], Awaitable[set[str]]],
    ) -> None:
        self._engine = engine
        self._survey = survey
        self._book = book
        self._ledger = ledger
        self._cache = cache
        self._locks = locks
        self._budget = budget
        self._used_by_rows = used_by_rows

    async def prune(self, *, dry_run: bool) -> Pruned:
        """Remove what is beyond the budget, or only say what would go. One at a time for all servers on the cache.

        Raises UnavailableError for the engine and for a cache that cannot be used.
        """
        async with held(self._locks / "prune.lock"):
            self._ledger.put_all_back()
            return await self._prune(dry_run=dry_run)

    async def _prune(self, *, dry_run: bool) -> Pruned:
        items = sorted(await self._items(), key=lambda item: item.used_at)
        bytes_over = sum(item.bytes for item in items) - self._budget.bytes
        images_over = sum(item.kind == "image" for item in items) - self._budget.images
        removed: list[tuple[Item, str]] = []
        kept: list[tuple[Item, str]] = []
        for item in items:
            over = bytes_over > 0 or (images_over > 0 and item.kind == "image")
            reason = item.keep or (None if over else "within the budget")
            if reason is None:
                reason = None if dry_run else await self._remove(item)
            if reason is not None:
                kept.append((item, reason))
                continue
            removed.append((item, "least recently used"))
            bytes_over -= item.bytes
            images_over -= item.kind == "image"
        freed = sum(item.bytes for item, _ in removed)
        total = sum(item.bytes for item, _ in kept)
        return Pruned(removed=removed, kept=kept, freed=freed, total=total, budget=self._budget)

    async def keep_within(self) -> None:
        """The periodic work: prune, unless the engine is away."""
        try:
            await self.prune(dry_run=False)
        except UnavailableError as error:
            log.info("not pruned: the engine is away", error=error.message)

    async def _remove(self, item: Item) -> str | None:
        """Remove it; why it could not be, if it could not."""
        try:
            await item.remove()
        except WorkspaceServerError as error:
            return error.message
        log.info("local-build: pruned", kind=item.kind, name=item.name, bytes=item.bytes)
        return None

    async def _items(self) -> list[Item]:
        images, rows = await self._survey.images(), await self._used_by_rows()
        kept = await asyncio.to_thread(holdings, self._cache)
        records = self._book.newest(limit=None)
        building = {record.commit for record in records if not record.state.ended}
        return [
            *(self._image(image, rows) for image in images),
            *(self._holding(holding, building) for holding in kept),
            *(self._record(record) for record in records),
        ]

    def _image(self, image: LocalImage, rows: set[str]) -> Item:
        keep, used_at = None, image.made.used_at
        if image.in_use_by:
            keep = f"in use by {len(image.in_use_by)} workspaces"
        elif image.image.id in rows:
            keep = "a workspace will start from it again"

        return Item(
            kind="image",
            name=image.tag,
            bytes=image.image.size,
            used_at=used_at,
            keep=keep or _fresh(used_at),
            remove=lambda: self._remove_image(image),
        )

    async def _remove_image(self, image: LocalImage) -> None:
        """Remove an image with all its tags, unless somebody uses it or builds it at this moment."""
        lock = lock_path(self._locks, image.made.build_id)
        if FileLock.is_held(lock):
            raise ConflictError("being built", code="in_use")
        async with held(lock):
            if not self._ledger.take(image.made, image.image.id):
                raise ConflictError("used meanwhile", code="in_use")
            try:
                for tag in image.image.tags or (image.image.id,):
                    await self._engine.remove_image(tag)
            except BaseException:
                self._ledger.put_back(image.image.id)
                raise
            self._ledger.forget(image.image.id)

    def _holding(self, holding: Holding, building: set[str | None]) -> Item:
        name = f"{holding.runtime}/{holding.path.name}"
        keep = "being built" if holding.commit in building else _fresh(holding.used_at)
        return Item(
            kind=holding.kind,
            name=name,
            bytes=holding.bytes,
            used_at=holding.used_at,
            keep=keep,
            remove=lambda: remove_holding(holding),
        )

    def _record(self, record: BuildRecord) -> Item:
        used_at = record.finished_at or datetime.now(UTC)
        keep = _fresh(used_at) if record.state.ended else "being built"

        async def remove() -> None:
            await asyncio.to_thread(self._book.remove, record.id)

        return Item(
            kind="log", name=record.id, bytes=self._book.size(record.id), used_at=used_at, keep=keep, remove=remove
        )


def _fresh(used_at: datetime) -> str | None:
    return "used in the last ten minutes" if datetime.now(UTC) - used_at < _GRACE else None
