"""Build records: readable by every server that shares the cache, whole or absent, and never outside it."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workspace_server.errors import NotFoundError, TemplateError
from workspace_server.images import BuildBook, BuildRecord
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, BuildWait

from .making import COMMIT, OTHER_COMMIT, identity, template

STEP = BuildStep(n=1, of=2, name="RUN true")


@pytest.fixture
def book(cache: Path) -> BuildBook:
    return BuildBook(cache)


def opened(book: BuildBook, runtime: str = "hermes", commit: str = COMMIT) -> BuildRecord:
    return book.open(identity(template(runtime), commit), "no image")


def ended(book: BuildBook, state: BuildState = BuildState.SUCCEEDED, **identity: str) -> BuildRecord:
    return book.close(opened(book, **identity).id, state)


def file_of(cache: Path, record: BuildRecord) -> Path:
    return cache / "builds" / record.id / "record.json"


# Round trips


def test_a_new_record_says_what_is_to_be_built_and_why(book: BuildBook) -> None:
    before = datetime.now(UTC)
    record = opened(book)

    assert before <= record.started_at <= datetime.now(UTC)
    assert record == BuildRecord(
        id=record.id,
        runtime="hermes",
        commit=COMMIT,
        build_id=identity(template()).build_id,
        platform="linux/amd64",
        reason="no image",
        state=BuildState.QUEUED,
        phase=BuildPhase.QUEUED,
        started_at=record.started_at,
    )


def test_another_server_reads_the_record_as_it_was_written(book: BuildBook, cache: Path) -> None:
    record = opened(book)
    book.note_step(record.id, STEP)
    written = book.update(record.id, state=BuildState.RUNNING, phase=BuildPhase.BUILD, builder="buildx 0.13.1")

    assert BuildBook(cache).get(record.id) == written


def test_an_ended_record_is_read_with_its_error(book: BuildBook, cache: Path) -> None:
    error = TemplateError("it failed", code="build_failed", hint="repair it")
    written = book.close(opened(book).id, BuildState.FAILED, error=error)

    assert BuildBook(cache).get(written.id) == written
    assert written.error == {"error": "it failed", "code": "build_failed", "hint": "repair it"}


def test_a_step_is_seen_in_this_process_at_once(book: BuildBook) -> None:
    record = opened(book)
    book.note_step(record.id, STEP)

    assert book.get(record.id).step == STEP


def test_a_step_that_goes_on_is_one_step(book: BuildBook) -> None:
    record = opened(book)
    for seconds in (None, 1.5):
        book.note_step(record.id, BuildStep(n=1, of=2, name="RUN true", seconds=seconds))

    assert book.get(record.id).steps == (BuildStep(n=1, of=2, name="RUN true", seconds=1.5),)


def noted(book: BuildBook, *steps: BuildStep) -> BuildRecord:
    """A build that was at these steps."""
    record = opened(book)
    for step in steps:
        book.note_step(record.id, step)
    return book.get(record.id)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([BuildStep(n=1, of=3, name="a", seconds=1.0), BuildStep(n=2, of=3, name="b", seconds=1.0)], "b"),
        ([BuildStep(n=1, of=3, name="a"), BuildStep(n=2, of=3, name="b", cached=True, seconds=0.0)], "a"),
        ([BuildStep(n=1, of=3, name="a"), BuildStep(n=2, of=3, name="b")], "b"),
        ([BuildStep(n=1, of=3, name="a", failed=True), BuildStep(n=2, of=3, name="b")], "a"),
    ],
    ids=["the last one", "one that runs still", "the last that runs", "the one that failed"],
)
def test_of_several_steps_one_tells_most(book: BuildBook, steps: list[BuildStep], name: str) -> None:
    step = noted(book, *steps).step

    assert step is not None
    assert step.name == name


def test_a_step_keeps_the_moment_it_began(book: BuildBook, cache: Path) -> None:
    before = datetime.now(UTC)
    record = noted(book, STEP)
    (began,) = [step.started_at for step in record.steps]
    book.note_step(record.id, replace(STEP, seconds=1.0))
    ended = book.close(record.id, BuildState.SUCCEEDED)

    assert began is not None
    assert before <= began <= datetime.now(UTC)
    assert [step.started_at for step in (*ended.steps, *BuildBook(cache).get(record.id).steps)] == [began] * 2


def test_a_failed_step_whose_time_the_builder_does_not_tell_is_measured(book: BuildBook) -> None:
    (step,) = noted(book, STEP, replace(STEP, failed=True)).steps

    assert step.seconds is not None
    assert 0 <= step.seconds < 10


def test_what_a_build_waits_for_is_seen_until_it_ends(book: BuildBook) -> None:
    record = opened(book)
    book.note_wait(record.id, BuildWait.PLACE)
    waiting = book.get(record.id).waits_for
    book.close(record.id, BuildState.CANCELLED)

    assert (waiting, book.get(record.id).waits_for) == (BuildWait.PLACE, None)


CHANGES: dict[str, Callable[[BuildBook, str], object]] = {
    "update": lambda book, build: book.update(build, phase=BuildPhase.FETCH),
    "step": lambda book, build: book.note_step(build, STEP),
    "wait": lambda book, build: book.note_wait(build, BuildWait.LOCK),
    "close": lambda book, build: book.close(build, BuildState.SUCCEEDED),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_record_is_told(book: BuildBook, change: Callable[[BuildBook, str], object]) -> None:
    record = opened(book).id
    with book.changes.listen(record) as changed, book.growth.listen(record) as grown:
        change(book, record)
        assert (changed.is_set(), grown.is_set()) == (True, True)


def test_a_written_line_is_told_to_those_who_read_the_log_only(book: BuildBook) -> None:
    record = opened(book).id
    with book.changes.listen(record) as changed, book.growth.listen(record) as grown, book.open_log(record) as log:
        log.write(b"a line\n")
        assert (changed.is_set(), grown.is_set()) == (False, True)


def test_a_record_says_in_words_what_the_build_is_at(book: BuildBook) -> None:
    record = opened(book)
    before = record.where
    book.note_step(record.id, STEP)

    assert (before, book.get(record.id).where) == ("queued", "step 1 of 2, RUN true")


def test_waiters_come_and_go(book: BuildBook) -> None:
    record = opened(book)
    for change in (+1, +1, -1):
        book.count_waiter(record.id, change)

    assert book.get(record.id).waiters == 1


def test_nobody_waits_for_an_ended_build(book: BuildBook) -> None:
    record = opened(book)
    book.count_waiter(record.id, +1)
    closed = book.close(record.id, BuildState.SUCCEEDED)
    book.count_waiter(record.id, -1)

    assert (closed.waiters, book.get(record.id).waiters) == (0, 0)


def test_an_ended_build_took_as_long_as_it_took(book: BuildBook) -> None:
    record = ended(book)
    assert record.finished_at is not None

    assert record.seconds == (record.finished_at - record.started_at) / timedelta(seconds=1)


def test_an_ended_build_is_kept_on_disk_only(book: BuildBook, cache: Path) -> None:
    record = ended(book)
    file_of(cache, record).unlink()

    with pytest.raises(NotFoundError):
        book.get(record.id)


# Lists


def test_the_newest_build_comes_first(book: BuildBook) -> None:
    ids = [ended(book).id]
    for _ in range(2):
        began = time.time_ns() // 10**6
        while time.time_ns() // 10**6 == began:  # an id holds its millisecond
            pass
        ids.append(ended(book).id)

    assert [record.id for record in book.newest()] == ids[::-1]


def test_a_running_build_is_listed_as_it_is_now(book: BuildBook) -> None:
    record = opened(book)
    book.note_step(record.id, STEP)

    assert [each.step for each in book.newest()] == [STEP]


def test_a_list_is_no_longer_than_asked(book: BuildBook) -> None:
    newest = [ended(book) for _ in range(3)][1:]

    assert book.newest(limit=2) == sorted(newest, key=lambda record: record.id, reverse=True)


def test_a_list_of_one_runtime_has_no_other(book: BuildBook) -> None:
    ended(book, runtime="hermes")
    codex = ended(book, runtime="codex")

    assert book.newest(runtime="codex", limit=1) == [codex]


def test_an_empty_cache_has_no_builds(book: BuildBook) -> None:
    assert book.newest() == []


@pytest.mark.parametrize(
    ("state", "made"),
    [
        (BuildState.SUCCEEDED, True),
        (BuildState.HIT, True),
        (BuildState.FAILED, False),
        (BuildState.CANCELLED, False),
    ],
)
def test_a_build_that_ended_well_is_remembered_as_made(book: BuildBook, state: BuildState, made: bool) -> None:  # noqa: FBT001
    record = ended(book, state)

    assert (book.has_made(record.build_id), book.has_made("0" * 64)) == (made, False)


# Builds that their server did not survive


def test_an_open_record_of_a_server_that_is_gone_is_interrupted(book: BuildBook, cache: Path) -> None:
    record = opened(book)

    assert [each.id for each in BuildBook(cache).interrupted()] == [record.id]


def test_a_record_that_ended_or_runs_here_is_not(book: BuildBook) -> None:
    ended(book)
    opened(book, commit=OTHER_COMMIT)

    assert list(book.interrupted()) == []


def test_an_interrupted_record_is_closed_with_the_reason(book: BuildBook, cache: Path) -> None:
    record = opened(book)
    later = BuildBook(cache)
    for interrupted in later.interrupted():
        later.interrupt(interrupted)

    closed = BuildBook(cache).get(record.id)
    assert (closed.state, closed.phase, closed.error and closed.error["code"]) == (
        BuildState.CANCELLED,
        BuildPhase.DONE,
        "build_interrupted",
    )


def test_the_log_of_an_interrupted_build_says_so_after_all_that_was_in_it(book: BuildBook, cache: Path) -> None:
    record = opened(book)
    book.log_path(record.id).write_text("#1 step\n")
    BuildBook(cache).interrupt(record)

    first, last = book.log_path(record.id).read_text().splitlines()
    assert (first, "the server stopped during this build" in last) == ("#1 step", True)
