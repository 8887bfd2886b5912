"""What could not be read when another server told of it is made up for with whatever it tells next."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, cast

from workspace_server.db.backend import Notice, Topic
from workspace_server.errors import UnavailableError
from workspace_server.workspaces.others import OtherServers


class Elsewhere:
    """A database that tells of two events, the changes and events that are read of it, and what was done with them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.changes = self

    async def hear(self) -> AsyncIterator[Notice]:
        for key in ("1", "2", "3"):
            yield Notice(Topic.EVENT, key)

    async def send_on(self, key: str) -> None:
        self.done.append(f"event {key}")
        if key == "1":
            raise UnavailableError("no connection is free", code="database_unavailable")

    async def send_since(self, moment: datetime) -> None:
        self.done.append("all that was missed")

    def note_all(self) -> None:
        self.done.append("every row")


async def test_what_could_not_be_read_is_made_up_for_with_the_next_notice() -> None:
    elsewhere = Elsewhere()
    known = cast("Any", elsewhere)
    await OtherServers(database=known, workspaces=known, events=known, wake=lambda: None).follow()

    assert elsewhere.done == ["event 1", "all that was missed", "every row", "event 3"]
