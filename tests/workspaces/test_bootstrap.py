"""What is kept of a report that a machine did not come up."""

import pytest

from workspace_server.db import Database, WorkspaceStore
from workspace_server.events import EventLog
from workspace_server.model.workspace import Workspace, WorkspaceSpec
from workspace_server.workspaces.bootstrap import MOST_BYTES, Bootstraps, end_of

STARTED = {"start": {"state": "running", "started_at": "2026-01-01T00:00:00+00:00"}}


@pytest.fixture
async def bootstraps(database: Database, store: WorkspaceStore, events: EventLog) -> Bootstraps:
    async with database.write() as tx:
        await store.insert(tx, "w", WorkspaceSpec(name="a", runtime="langgraph", tier=2))
        await store.touch(tx, "w", phases=STARTED)
    return Bootstraps(database=database, workspaces=store, events=events, look=lambda: None)


async def the_row(store: WorkspaceStore) -> Workspace:
    row = await store.get("w")
    assert row is not None
    return row


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1, MOST_BYTES * 3])
@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_of_a_long_text_the_end_is_kept_in_whole_characters(character: str, size: int) -> None:
    text = character * size
    kept = end_of(text, MOST_BYTES)

    assert MOST_BYTES - 4 < len(kept.encode()) <= MOST_BYTES
    assert kept.splitlines()[0] == "… (the beginning is left out)" or kept == text
    assert text.endswith(kept.splitlines()[-1])


async def test_the_end_of_the_log_is_what_is_kept_beside_the_error(
    bootstraps: Bootstraps, store: WorkspaceStore
) -> None:
    assert await bootstraps.fail("w", "no network", "start\n" + "é" * MOST_BYTES + "\nKeyError: it")
    text = (await the_row(store)).last_sample_error

    assert text.startswith("no network\n\n… (the beginning is left out)\n")
    assert text.endswith("\nKeyError: it")
    assert len(text.encode()) <= MOST_BYTES


async def test_a_report_without_words_has_some(bootstraps: Bootstraps, store: WorkspaceStore) -> None:
    assert await bootstraps.fail("w", " \n ", "")

    assert (await the_row(store)).last_sample_error == "the workspace's machine did not come up"


async def test_no_terminal_obeys_a_report(bootstraps: Bootstraps, store: WorkspaceStore) -> None:
    assert await bootstraps.fail("w", "a\x1b[2Jb", "c\x1b]0;t\x07d")

    assert (await the_row(store)).last_sample_error == "ab\n\ncd"


async def test_a_report_of_an_earlier_machine_changes_nothing(
    bootstraps: Bootstraps, store: WorkspaceStore, database: Database
) -> None:
    async with database.write() as tx:
        await store.touch(tx, "w", phases={"environment": STARTED["start"]})

    assert not await bootstraps.fail("w", "no network", "")
    assert (await the_row(store)).status == "provisioning"


async def test_a_report_about_nobody_changes_nothing(bootstraps: Bootstraps) -> None:
    assert not await bootstraps.fail("nobody", "no network", "")
