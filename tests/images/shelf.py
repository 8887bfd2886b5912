"""Images, checkouts and logs of known ages, and a pruner that keeps them within a budget."""

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.engine import Engine as Api
from workspace_server.concurrency import Deadline
from workspace_server.images import LocalBuildSource
from workspace_server.images.prune import Budget, Pruned, Pruner
from workspace_server.images.survey import Survey
from workspace_server.model.build import BuildState
from workspace_server.runtimes import Runtimes, Template

from .conftest import Server
from .making import identity, labels_of, load_image

PLENTY = 10**15


@dataclass(slots=True)
class Shelf:
    """Things of known ages, and the pruner that keeps them within a budget."""

    server: Server
    api: Api
    template: Template
    cache: Path
    rows: set[str] = field(default_factory=set)

    async def image(self, number: int, *, hours: float | None) -> str:
        """An image of a commit that was used so long ago; None: another installation's, so that nobody here knows."""
        build = identity(self.template, f"{number:040x}")
        tags = (f"{build.repository}:{build.tag}", f"{build.repository}:{build.floating_tag}")
        image = await load_image(self.api, labels=labels_of(build), tags=tags)
        if hours is not None:
            self.server.ledger.note_made(image, build.build_id)
            aged(self.server.ledger._file(image), hours)
        return image

    async def checkout(self, commit: str, *, hours: float) -> Path:
        """A checkout, and the object store it came from."""
        checkout = await self.server.checkouts.checkout(self.template, commit, Deadline(60))
        aged(checkout.path.parent / "ready", hours)
        for store in checkout.path.parent.parent.glob("git-*"):
            aged(store, hours)
        return checkout.path.parent

    def log(self, commit: str = "1" * 40, *, hours: float) -> str:
        """The record and the log of a failed build."""
        book = self.server.book
        record = book.open(identity(self.template, commit), "no image")
        with book.open_log(record.id) as log:
            log.write(b"x" * 1000)
        book._save(replace(book.close(record.id, BuildState.FAILED), finished_at=ago(hours)))
        del book._active[record.id]  # where saving puts it
        return record.id

    async def prune(self, *, bytes: int = PLENTY, images: int = PLENTY, dry_run: bool = False) -> Pruned:  # noqa: A002
        async def rows() -> set[str]:
            return self.rows

        server = self.server
        survey = Survey(
            source=LocalBuildSource(platform="linux/amd64"),
            runtimes=Runtimes({self.template.runtime: self.template}),
            engine=server.engine,
            resolver=server.resolver,
            book=server.book,
            ledger=server.ledger,
            wanted=server.wanted,
            known_failure=server.builds.known_failure,
            registry=server.registry,
        )
        pruner = Pruner(
            engine=server.engine,
            survey=survey,
            book=server.book,
            ledger=server.ledger,
            cache=self.cache,
            locks=self.cache / "locks",
            budget=Budget(bytes=bytes, images=images),
            used_by_rows=rows,
        )
        return await pruner.prune(dry_run=dry_run)

    async def there(self, *images: str) -> list[bool]:
        return [await self.api.exists(f"/images/{image}/json") for image in images]


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def aged(path: Path, hours: float) -> None:
    moment = ago(hours).timestamp()
    os.utime(path, (moment, moment))
