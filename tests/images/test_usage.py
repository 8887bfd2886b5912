"""When an image was last used, as every server on one cache sees it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from workspace_server.images.usage import Usage

IMAGE = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"


@pytest.fixture
def usage(tmp_path: Path) -> Usage:
    return Usage(tmp_path / "cache")


def used_at(usage: Usage) -> datetime:
    moment = usage.last(IMAGE)
    assert moment is not None
    return moment


def test_an_image_that_nobody_used_has_no_last_use(usage: Usage) -> None:
    assert usage.last(IMAGE) is None


def test_a_use_is_now_in_utc(usage: Usage) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    usage.touch(IMAGE)

    assert (used_at(usage) >= before, used_at(usage).tzinfo) == (True, UTC)


def test_a_use_of_one_image_is_none_of_another(usage: Usage) -> None:
    usage.touch(IMAGE)

    assert usage.last(OTHER) is None


def test_the_newest_use_counts(usage: Usage) -> None:
    usage.touch(IMAGE)
    os.utime(usage._file(IMAGE), (0, 0))
    usage.touch(IMAGE)

    assert used_at(usage).year > 1970


def test_every_server_on_the_cache_sees_a_use(usage: Usage, tmp_path: Path) -> None:
    usage.touch(IMAGE)

    assert Usage(tmp_path / "cache").last(IMAGE) == used_at(usage)


def test_an_image_that_is_gone_is_forgotten(usage: Usage) -> None:
    usage.touch(IMAGE)
    usage.forget(IMAGE)

    assert usage.last(IMAGE) is None


def test_forgetting_an_unknown_image_is_no_error(usage: Usage) -> None:
    usage.forget(IMAGE)

    assert usage.last(IMAGE) is None


def test_what_is_noted_is_private(usage: Usage) -> None:
    usage.touch(IMAGE)

    modes = {path.stat().st_mode & 0o777 for path in (usage._folder, usage._file(IMAGE))}
    assert modes == {0o700, 0o600}


def test_a_use_that_cannot_be_noted_is_logged_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with capture_logs() as logs:
        Usage(tmp_path / "cache").touch(IMAGE)

    assert [(line["log_level"], line["image"]) for line in logs] == [("warning", IMAGE)]
