"""Following a build: its log from any byte, its steps, its end."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from workspace_server.errors import NotFoundError, TemplateError
from workspace_server.images import BuildBook, BuildRecord
from workspace_server.images import follow as module
from workspace_server.images.follow import BuildEnd, LogLine, News, StepChange, follow
from workspace_server.model.build import BuildState, BuildStep

from .making import identity, template

FIRST, SECOND = BuildStep(n=1, of=2, name="FROM scratch"), BuildStep(n=2, of=2, name="COPY . /")


@pytest.fixture
def book(tmp_path: Path) -> BuildBook:
    return BuildBook(tmp_path)


@pytest.fixture
def record(book: BuildBook) -> BuildRecord:
    return book.open(identity(template()), "no image")


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower looks again whenever the others have had their turn."""
    monkeypatch.setattr(module, "_POLL_SECONDS", 0)


def write(book: BuildBook, record: BuildRecord, text: bytes) -> None:
    with book.open_log(record.id) as log:
        log.write(text)


def end(book: BuildBook, record: BuildRecord) -> None:
    book.close(record.id, BuildState.SUCCEEDED)


async def everything(book: BuildBook, record: BuildRecord, offset: int = 0) -> list[News]:
    return [item async for item in follow(book, record.id, offset)]


async def lines(book: BuildBook, record: BuildRecord, offset: int = 0) -> list[tuple[int, str]]:
    return [(each.offset, each.text) for each in await everything(book, record, offset) if isinstance(each, LogLine)]


async def upcoming(news: AsyncGenerator[News, None]) -> News:
    async with asyncio.timeout(10):
        return await anext(news)


async def test_the_log_comes_from_its_first_byte(book: BuildBook, record: BuildRecord) -> None:
    write(book, record, b"one\n\ntwo\n")
    end(book, record)

    assert await lines(book, record) == [(4, "one"), (5, ""), (9, "two")]


@pytest.mark.parametrize(
    ("offset", "rest"), [(4, ["two", "three"]), (8, ["three"]), (5, ["wo", "three"]), (14, []), (99, [])]
)
async def test_the_log_comes_from_any_byte(book: BuildBook, record: BuildRecord, offset: int, rest: list[str]) -> None:
    write(book, record, b"one\ntwo\nthree\n")
    end(book, record)

    assert [text for _, text in await lines(book, record, offset)] == rest


async def test_every_offset_is_where_to_go_on(book: BuildBook, record: BuildRecord) -> None:
    write(book, record, "one\nzwölf\n\nlast".encode())
    end(book, record)

    found = await lines(book, record)
    for number, (offset, _) in enumerate(found, 1):
        assert await lines(book, record, offset) == found[number:]


async def test_a_last_line_without_its_end_comes_when_the_build_has_ended(book: BuildBook, record: BuildRecord) -> None:
    write(book, record, b"one\ntw")
    end(book, record)

    assert await lines(book, record) == [(4, "one"), (6, "tw")]


async def test_half_a_line_waits_for_its_other_half(book: BuildBook, record: BuildRecord) -> None:
    write(book, record, b"one\ntw")
    news = follow(book, record.id)
    first = await upcoming(news)
    second = asyncio.create_task(upcoming(news))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second.done()
    write(book, record, b"o\n")

    assert (first, await second) == (LogLine(4, "one"), LogLine(8, "two"))
    await news.aclose()


async def test_what_is_written_while_it_is_followed_comes_as_well(book: BuildBook, record: BuildRecord) -> None:
    news = follow(book, record.id)
    for offset, text in [(4, "one"), (8, "two")]:
        write(book, record, f"{text}\n".encode())
        assert await upcoming(news) == LogLine(offset, text)
    await news.aclose()


async def test_a_long_log_comes_whole(book: BuildBook, record: BuildRecord) -> None:
    """Longer than what is read at once, with lines across those borders."""
    written = [f"{number} {'x' * 1000}" for number in range(200)]
    write(book, record, "".join(f"{line}\n" for line in written).encode())
    end(book, record)

    assert [text for _, text in await lines(book, record)] == written


async def test_bytes_that_are_no_text_are_replaced_and_counted_as_they_are(
    book: BuildBook, record: BuildRecord
) -> None:
    write(book, record, b"a\xff\xfeb\n")
    end(book, record)

    assert await lines(book, record) == [(5, "a\ufffd\ufffdb")]


async def test_each_change_of_step_is_told_once(book: BuildBook, record: BuildRecord) -> None:
    news = follow(book, record.id)
    steps = []
    for step in (FIRST, SECOND):
        book.note_step(record.id, step)
        change = await upcoming(news)
        assert isinstance(change, StepChange)
        steps.append(change.record.step)
    end(book, record)

    assert (steps, [type(each) async for each in news]) == ([FIRST, SECOND], [BuildEnd])


async def test_a_step_carries_the_byte_up_to_which_lines_were_told(book: BuildBook, record: BuildRecord) -> None:
    news = follow(book, record.id)
    write(book, record, b"before\n")
    await upcoming(news)
    book.note_step(record.id, FIRST)
    change = await upcoming(news)
    await news.aclose()

    assert (type(change), change.offset) == (StepChange, 7)


async def test_the_end_is_the_last_thing_told_with_the_ended_build(book: BuildBook, record: BuildRecord) -> None:
    write(book, record, b"one\n")
    book.close(record.id, BuildState.FAILED, error=TemplateError("it failed", code="build_failed"))

    *_, reason, last = await everything(book, record)
    assert isinstance(last, BuildEnd)
    assert reason == LogLine(len("one\nit failed\n"), "it failed")
    assert (last.offset, last.record.state, last.record.error) == (
        len("one\nit failed\n"),
        BuildState.FAILED,
        {"error": "it failed", "code": "build_failed"},
    )


async def test_a_follower_that_waits_is_told_of_the_end(book: BuildBook, record: BuildRecord) -> None:
    last = asyncio.create_task(upcoming(follow(book, record.id)))
    for _ in range(20):
        await asyncio.sleep(0)
    end(book, record)

    assert isinstance(await last, BuildEnd)


async def test_what_was_written_before_the_end_is_never_lost(
    book: BuildBook, record: BuildRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build writes and ends between the follower's look at its record and its reading of the log."""
    look, looks = book.get, 0

    def then_end(record_id: str) -> BuildRecord:
        nonlocal looks
        looks += 1
        seen = look(record_id)
        if looks == 2:
            write(book, record, b"the last line\n")
            end(book, record)
        return seen

    monkeypatch.setattr(book, "get", then_end)

    assert [type(each) for each in await everything(book, record)] == [LogLine, BuildEnd]


async def test_a_build_of_another_server_on_the_cache_can_be_followed(
    book: BuildBook, record: BuildRecord, tmp_path: Path
) -> None:
    news = follow(BuildBook(tmp_path), record.id)
    write(book, record, b"one\n")
    line = await upcoming(news)
    end(book, record)

    assert (line, type(await upcoming(news))) == (LogLine(4, "one"), BuildEnd)
    await news.aclose()


async def test_an_unknown_build_cannot_be_followed(book: BuildBook) -> None:
    with pytest.raises(NotFoundError):
        await anext(follow(book, "01ARZ3NDEKTSV4RRFFQ69G5FAV"))


async def test_a_follower_that_stops_lets_go_of_the_log(book: BuildBook, record: BuildRecord) -> None:
    news = follow(book, record.id)
    write(book, record, b"one\n")
    await upcoming(news)
    log = str(book.log_path(record.id).resolve())
    before = open_files().count(log)
    await news.aclose()

    assert (before, open_files().count(log)) == (1, 0)


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    return [str(each.readlink()) for each in folder.iterdir() if each.is_symlink()]
