"""Files that are private, and whole or absent; folders that are private."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace_server.files import NOT_OURS, private_folder, private_place, write_private


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_umask")
def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    write_private(tmp_path / "key", "hush")

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.usefixtures("loose_umask")
def test_a_file_that_anyone_could_read_is_its_owners_only_afterwards(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old")
    write_private(tmp_path / "key", "hush")

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_what_a_crash_left_or_somebody_opened_before_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_text("half")
    (tmp_path / "key.new").chmod(0o666)
    with (tmp_path / "key.new").open() as of_somebody:
        write_private(tmp_path / "key", "hush")

        assert of_somebody.read() == "half"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_what_was_there_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old and long")
    write_private(tmp_path / "key", "new")

    assert (tmp_path / "key").read_text() == "new"


def test_nothing_else_is_left_behind(tmp_path: Path) -> None:
    write_private(tmp_path / "key.json", "{}")

    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(tmp_path / "key", "new")

    assert (tmp_path / "key").read_text() == "old"


def test_a_half_written_file_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_text("half of something lon")
    write_private(tmp_path / "key", "new")

    assert (tmp_path / "key").read_text() == "new"


def test_a_link_in_the_staged_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "key.new").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "key", "new")

    assert ((tmp_path / "victim").read_text(), (tmp_path / "key").is_symlink()) == ("mine", False)


def test_a_reader_sees_the_old_text_or_the_new_one(tmp_path: Path) -> None:
    write_private(tmp_path / "key", "old")
    with (tmp_path / "key").open() as opened:
        write_private(tmp_path / "key", "new")

        assert (opened.read(), (tmp_path / "key").read_text()) == ("old", "new")


# Folders

MARKS = ("builds", "locks")


@pytest.mark.usefixtures("loose_umask")
def test_a_new_folder_is_its_owners_only(tmp_path: Path) -> None:
    private_folder(tmp_path / "above" / "cache")

    assert stat.S_IMODE((tmp_path / "above" / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o2770, 0o500])
def test_a_folder_that_was_there_is_its_owners_only_afterwards(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    private_folder(tmp_path / "cache")

    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("target", [".", "/", "nowhere"])
def test_a_link_is_no_folder_of_ours(tmp_path: Path, target: str) -> None:
    (tmp_path / "cache").symlink_to(target)

    with pytest.raises(OSError):
        private_folder(tmp_path / "cache")


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o500])
def test_a_place_that_was_chosen_is_private_afterwards_also_behind_a_link(tmp_path: Path, mode: int) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk").chmod(mode)
    (tmp_path / "cache").symlink_to("large disk")
    private_place(tmp_path / "cache", MARKS)

    assert stat.S_IMODE((tmp_path / "large disk").stat().st_mode) == 0o700


def test_a_place_that_was_chosen_may_be_another_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    private_place(tmp_path / "cache", MARKS)

    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777])
def test_a_place_that_is_known_by_what_is_in_it_is_private_afterwards(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache" / "builds").mkdir(parents=True)
    (tmp_path / "cache" / "hermes").mkdir()
    (tmp_path / "cache").chmod(mode)
    private_place(tmp_path / "cache", MARKS)

    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_place_with_other_things_in_it_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "srv" / "www").mkdir(parents=True)
    (tmp_path / "srv").chmod(0o755)
    private_place(tmp_path / "srv", MARKS)

    assert stat.S_IMODE((tmp_path / "srv").stat().st_mode) == 0o755


@pytest.mark.parametrize(("mode", "inside"), [(0o775, "www"), (0o777, "www"), (0o1777, "builds")])
def test_a_place_with_other_things_in_it_that_others_may_write_to_is_refused(
    tmp_path: Path, mode: int, inside: str
) -> None:
    (tmp_path / "tmp" / inside).mkdir(parents=True)
    (tmp_path / "tmp").chmod(mode)

    with pytest.raises(PermissionError, match="others may write to it"):
        private_place(tmp_path / "tmp", MARKS)
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == mode


def test_a_place_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to("nowhere")

    with pytest.raises(FileExistsError):
        private_place(tmp_path / "cache", MARKS)


def test_what_lies_behind_a_link_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "cache").symlink_to("elsewhere")
    with pytest.raises(NotADirectoryError, match=NOT_OURS):
        private_folder(tmp_path / "cache")

    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o755


def test_another_users_folder_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(NotADirectoryError, match=NOT_OURS):
        private_folder(tmp_path)
