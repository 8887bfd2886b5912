"""Build records that are none, names that are no ids, a cache that cannot be used."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace_server.errors import NotFoundError, UnavailableError
from workspace_server.images import BuildBook, BuildRecord
from workspace_server.model.build import BuildPhase, BuildState

from .making import identity, template


@pytest.fixture
def book(cache: Path) -> BuildBook:
    return BuildBook(cache)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def opened(book: BuildBook) -> BuildRecord:
    return book.open(identity(template()), "no image")


def ended(book: BuildBook) -> BuildRecord:
    return book.close(opened(book).id, BuildState.SUCCEEDED)


def file_of(cache: Path, record: BuildRecord) -> Path:
    return cache / "builds" / record.id / "record.json"


# What is no record


@pytest.mark.parametrize(
    "content",
    [b"", b'{"id": "01', b"[]", b"null", b"{}", b'"x"', b"\xff", b"1" * 5000],
    ids=["empty", "half", "list", "null", "object", "string", "binary", "number"],
)
def test_half_a_record_is_none(book: BuildBook, cache: Path, content: bytes) -> None:
    record = ended(book)
    file_of(cache, record).write_bytes(content)

    assert book.newest() == []


@pytest.mark.parametrize(
    "field", [{"state": "elsewhere"}, {"steps": [1]}, {"started_at": 5}, {"finished_at": "soon"}, {"color": "red"}]
)
def test_a_record_of_another_form_is_none(book: BuildBook, cache: Path, field: dict[str, object]) -> None:
    file = file_of(cache, ended(book))
    file.write_text(json.dumps(json.loads(file.read_text()) | field))

    assert book.newest() == []


def test_what_else_lies_among_the_records_is_ignored(book: BuildBook, cache: Path) -> None:
    record = ended(book)
    (cache / "builds" / "notes.txt").touch()
    (cache / "builds" / "folder").mkdir()

    assert book.newest() == [record]


def test_a_record_that_is_being_written_is_read_as_it_was_before(book: BuildBook, cache: Path) -> None:
    record = ended(book)
    file_of(cache, record).with_suffix(".new").write_text('{"id": "01')

    assert book.get(record.id) == record


# Names from requests


@pytest.mark.parametrize("above", ["..", "../..", "../elsewhere", "/"])
def test_a_name_from_a_request_never_leads_out_of_the_records(
    book: BuildBook, cache: Path, tmp_path: Path, above: str
) -> None:
    record = ended(book)
    for place in (cache / record.id, cache / "elsewhere" / record.id, tmp_path / record.id):
        place.parent.mkdir(exist_ok=True)
        (cache / "builds" / record.id).rename(place)
        with pytest.raises(NotFoundError):
            book.get(str(place) if above == "/" else f"{above}/{record.id}")
        place.rename(cache / "builds" / record.id)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "%2e%2e",
        "record.json",
        "\0",
        "01ARZ3NDEKTSV4RRFFQ69G5FA",
        "01ARZ3NDEKTSV4RRFFQ69G5FAVV",
        "é" * 26,
        "U" * 26,
        "x" * 5000,
        "01ARZ3NDEKTSV4RRFFQ69G5FA\n",
        "/etc/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_what_is_no_id_is_an_unknown_build(book: BuildBook, name: str) -> None:
    ended(book)

    with pytest.raises(NotFoundError) as caught:
        book.get(name)

    assert (caught.value.code, len(caught.value.message) < 60) == ("unknown_build", True)


# A record that names other files than its own


@pytest.mark.parametrize(
    "field",
    [
        {"id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
        {"id": "../../elsewhere"},
        {"id": "/etc"},
        {"build_id": "../../elsewhere"},
        {"build_id": "0" * 63},
        {"build_id": "0" * 5000},
        {"build_id": "0" * 63 + "\n"},
        {"build_id": 5},
        {"runtime": ["hermes"]},
        {"commit": {}},
    ],
    ids=str,
)
def test_a_record_that_is_not_its_own_is_none(book: BuildBook, cache: Path, field: dict[str, object]) -> None:
    record = ended(book)
    file = file_of(cache, record)
    file.write_text(json.dumps(json.loads(file.read_text()) | field))

    assert (book.newest(), [each.id for each in book.interrupted()]) == ([], [])


def test_what_is_nested_without_end_is_no_record(book: BuildBook, cache: Path) -> None:
    file_of(cache, ended(book)).write_text("[" * 100_000)

    assert book.newest() == []


# Links


@pytest.mark.parametrize("what", ["builds", "builds/{id}", "builds/{id}/record.json"])
def test_a_record_behind_a_link_is_none(book: BuildBook, cache: Path, what: str) -> None:
    record = ended(book)
    place = cache / what.format(id=record.id)
    place.rename(cache.parent / "outside")
    place.symlink_to(cache.parent / "outside")

    assert book.newest() == []


def test_a_log_behind_a_link_is_not_shown(book: BuildBook, cache: Path, tmp_path: Path) -> None:
    record = ended(book)
    (tmp_path / "secret").write_text("hush")
    (cache / "builds" / record.id / "log").unlink()
    (cache / "builds" / record.id / "log").symlink_to(tmp_path / "secret")

    with pytest.raises(NotFoundError):
        book.readable_log(record.id)


def test_a_log_behind_a_link_is_not_written_to(book: BuildBook, cache: Path, tmp_path: Path) -> None:
    record = opened(book)
    (tmp_path / "secret").write_text("hush")
    (cache / "builds" / record.id / "log").unlink()
    (cache / "builds" / record.id / "log").symlink_to(tmp_path / "secret")

    with pytest.raises(UnavailableError) as caught:
        book.open_log(record.id)

    assert (caught.value.code, (tmp_path / "secret").read_text()) == ("cache_unusable", "hush")


def test_a_link_in_place_of_the_records_is_refused(book: BuildBook, cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (tmp_path / "outside").mkdir()
    (cache / "builds").symlink_to(tmp_path / "outside")

    with pytest.raises(UnavailableError) as caught:
        opened(book)

    assert (caught.value.code, list((tmp_path / "outside").iterdir())) == ("cache_unusable", [])


# Places


@pytest.mark.usefixtures("umask")
def test_nobody_else_may_look_into_records_and_logs(book: BuildBook, cache: Path) -> None:
    ended(book)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [cache, *cache.rglob("*")]}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_whoever_follows_the_log_sees_every_line_at_once(book: BuildBook) -> None:
    record = opened(book)
    with book.open_log(record.id) as log:
        log.write(b"line\n")

        assert book.log_path(record.id).read_bytes() == b"line\n"


def test_a_log_without_end_does_not_fill_the_disk_and_says_so(book: BuildBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.images.records.LARGEST_LOG", 1000)
    record = opened(book)
    for _ in range(2):
        with book.open_log(record.id) as log:
            for n in range(100):
                log.write(b"%09d\n" % n)

    book.say(record.id, "it failed")

    lines = book.log_path(record.id).read_bytes().splitlines()
    cut = b"the log ends here: the build writes more than 64 MiB"
    assert (len(lines), lines[98:]) == (101, [b"000000098", cut, b"it failed"])


@pytest.mark.parametrize("method", ["open", "update", "close"])
def test_a_cache_that_cannot_be_written_is_a_fault_with_a_name(
    book: BuildBook, cache: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    record = opened(book)
    monkeypatch.setattr("workspace_server.images.records.write_private", full)

    with pytest.raises(UnavailableError) as caught:
        {
            "open": lambda: opened(book),
            "update": lambda: book.update(record.id, phase=BuildPhase.BUILD),
            "close": lambda: book.close(record.id, BuildState.SUCCEEDED),
        }[method]()

    assert (caught.value.code, str(cache) in caught.value.message) == ("no_space", True)


def test_a_record_that_could_not_be_begun_is_not_kept_in_memory(
    book: BuildBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("workspace_server.images.records.write_private", full)
        with pytest.raises(UnavailableError):
            opened(book)

    assert book._active == {}


def test_a_build_has_ended_though_that_could_not_be_written_down(
    book: BuildBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = opened(book)
    with monkeypatch.context() as broken:
        broken.setattr("workspace_server.images.records.write_private", full)
        with pytest.raises(UnavailableError):
            book.close(record.id, BuildState.FAILED)

    assert [each.state for each in (book.get(record.id), *book.newest())] == [BuildState.FAILED] * 2


def test_a_build_whose_end_could_not_be_written_down_can_be_forgotten(
    book: BuildBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = opened(book)
    with monkeypatch.context() as broken:
        broken.setattr("workspace_server.images.records.write_private", full)
        with pytest.raises(UnavailableError):
            book.close(record.id, BuildState.FAILED)
    book.remove(record.id)

    assert book.newest() == []
    with pytest.raises(NotFoundError):
        book.get(record.id)


def full(file: Path, text: str) -> None:
    raise OSError(28, os.strerror(28), str(file))
