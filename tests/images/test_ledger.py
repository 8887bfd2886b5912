"""Which images builds of a cache made, and when they were last used, as every server on the cache sees it."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from workspace_server.images.ledger import ImageLedger, MadeImage

IMAGE = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"


BUILD_ID = "1" * 64


@pytest.fixture
def ledger(tmp_path: Path) -> ImageLedger:
    return ImageLedger(tmp_path / "cache")


def used_at(ledger: ImageLedger) -> datetime:
    made = ledger.find(IMAGE)
    assert made is not None
    return made.used_at


def test_an_image_that_no_build_made_is_unknown(ledger: ImageLedger) -> None:
    assert (ledger.find(IMAGE), ledger.has_made(IMAGE, BUILD_ID)) == (None, False)


def test_an_image_is_of_the_build_that_made_it_and_of_no_other(ledger: ImageLedger) -> None:
    ledger.note_made(IMAGE, BUILD_ID)

    assert [ledger.has_made(IMAGE, each) for each in (BUILD_ID, "2" * 64)] == [True, False]


def test_making_one_image_says_nothing_of_another(ledger: ImageLedger) -> None:
    ledger.note_made(IMAGE, BUILD_ID)

    assert ledger.find(OTHER) is None


def test_an_image_was_made_and_used_at_the_end_of_its_build(ledger: ImageLedger) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    ledger.note_made(IMAGE, BUILD_ID)
    made = ledger.find(IMAGE)

    assert made is not None
    assert (made.made_at >= before, made.used_at >= before, made.used_at.tzinfo) == (True, True, UTC)


def test_the_newest_use_counts(ledger: ImageLedger) -> None:
    ledger.note_made(IMAGE, BUILD_ID)
    os.utime(ledger._file(IMAGE), (0, 0))
    ledger.touch(IMAGE)

    assert used_at(ledger).year > 1970


def test_a_use_does_not_make_an_image_ours(ledger: ImageLedger) -> None:
    ledger.touch(IMAGE)

    assert ledger.find(IMAGE) is None


def test_every_server_on_the_cache_knows_what_was_made(ledger: ImageLedger, tmp_path: Path) -> None:
    ledger.note_made(IMAGE, BUILD_ID)

    assert ImageLedger(tmp_path / "cache").find(IMAGE) == ledger.find(IMAGE)


@pytest.mark.parametrize("left", ["", "{", "[]", "{}", '{"build_id": "x"}', '{"build_id": "x", "made_at": "never"}'])
def test_half_an_entry_is_no_entry(ledger: ImageLedger, left: str) -> None:
    ledger.note_made(IMAGE, BUILD_ID)
    ledger._file(IMAGE).write_text(left)

    assert ledger.find(IMAGE) is None


def taken(ledger: ImageLedger) -> bool:
    """Whether an image that was made just now could be taken out."""
    ledger.note_made(IMAGE, BUILD_ID)
    made = ledger.find(IMAGE)
    return made is not None and ledger.take(made, IMAGE)


def test_an_image_that_is_taken_out_cannot_be_used(ledger: ImageLedger) -> None:
    assert (taken(ledger), ledger.touch(IMAGE), ledger.find(IMAGE)) == (True, False, None)


def test_an_image_that_was_used_meanwhile_cannot_be_taken_out(ledger: ImageLedger) -> None:
    ledger.note_made(IMAGE, BUILD_ID)
    os.utime(ledger._file(IMAGE), (0, 0))
    old = ledger.find(IMAGE)
    assert old is not None
    ledger.touch(IMAGE)

    assert (ledger.take(old, IMAGE), ledger.touch(IMAGE)) == (False, True)


def test_an_image_that_stays_after_all_can_be_used_again(ledger: ImageLedger) -> None:
    taken(ledger)
    ledger.put_back(IMAGE)

    assert (ledger.touch(IMAGE), ledger.has_made(IMAGE, BUILD_ID)) == (True, True)


def test_what_somebody_took_and_died_can_be_put_back(ledger: ImageLedger) -> None:
    taken(ledger)
    ledger.put_all_back()

    assert ledger.has_made(IMAGE, BUILD_ID)


def test_an_image_that_is_gone_is_forgotten(ledger: ImageLedger) -> None:
    taken(ledger)
    ledger.forget(IMAGE)
    ledger.put_all_back()

    assert ledger.find(IMAGE) is None


def test_an_unknown_image_is_neither_taken_nor_forgotten_with_an_error(ledger: ImageLedger) -> None:
    made = MadeImage(build_id=BUILD_ID, made_at=datetime.now(UTC), used_at=datetime.now(UTC))
    ledger.forget(IMAGE)
    ledger.put_back(IMAGE)

    assert ledger.take(made, IMAGE) is False


def test_what_is_noted_is_private(ledger: ImageLedger) -> None:
    ledger.note_made(IMAGE, BUILD_ID)

    modes = {path.stat().st_mode & 0o777 for path in (ledger._folder, ledger._file(IMAGE))}
    assert modes == {0o700, 0o600}


def test_what_cannot_be_noted_is_logged_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    with capture_logs() as logs:
        ImageLedger(tmp_path / "cache").note_made(IMAGE, BUILD_ID)

    assert [line["event"] for line in logs] == ["an image that was built could not be noted"]


@pytest.mark.parametrize("build_id", ["../../elsewhere", "1" * 63, "", 5, None])
def test_an_image_of_what_is_no_build_id_is_unknown(ledger: ImageLedger, build_id: object) -> None:
    ledger.note_made(IMAGE, BUILD_ID)
    ledger._file(IMAGE).write_text(json.dumps({"build_id": build_id, "made_at": "2026-01-01T00:00:00+00:00"}))

    assert ledger.find(IMAGE) is None


@pytest.mark.parametrize("what", ["folder", "file"])
def test_an_image_that_is_noted_behind_a_link_is_unknown(ledger: ImageLedger, tmp_path: Path, what: str) -> None:
    ledger.note_made(IMAGE, BUILD_ID)
    place = ledger._folder if what == "folder" else ledger._file(IMAGE)
    place.rename(tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")

    assert ledger.find(IMAGE) is None


def test_nothing_is_noted_behind_a_link(ledger: ImageLedger, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "outside").mkdir()
    ledger._folder.symlink_to(tmp_path / "outside")
    with capture_logs() as logs:
        ledger.note_made(IMAGE, BUILD_ID)

    assert (list((tmp_path / "outside").iterdir()), logs[0]["log_level"]) == ([], "warning")
