"""The data directory: private, and one server's at a time."""

import os
import stat
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace_server.db import open_database
from workspace_server.db.directory import DataDirectory, open_data_directory
from workspace_server.errors import SettingsError, UnavailableError

ID = "0123abcd-4567-89ab-cdef-0123456789ab"

OTHER_SERVER = """
import sys
from pathlib import Path
from workspace_server.db.directory import open_data_directory

with open_data_directory(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "share" / "molecule"


@pytest.fixture
def directory(data: Path) -> Iterator[DataDirectory]:
    with open_data_directory(data) as opened:
        yield opened


@pytest.fixture(autouse=True)
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_for_its_user_only(directory: DataDirectory) -> None:
    assert mode(directory.path) == 0o700


def test_a_directory_that_others_may_read_is_its_users_only_afterwards(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    with open_data_directory(tmp_path / "data") as opened:
        assert mode(opened.path) == 0o700


async def test_every_file_in_it_is_its_users_only(directory: DataDirectory) -> None:
    directory.owner_token()
    directory.mirror_instance(ID)
    async with open_database(directory.database) as database, database.write():
        modes = {path.name: mode(path) for path in directory.path.iterdir()}

    files = ("lock", "owner_token", "instance", "molecule.db", "molecule.db-wal", "molecule.db-shm")
    assert modes == dict.fromkeys(files, 0o600)


def test_a_second_opening_is_refused_with_what_to_do(directory: DataDirectory) -> None:
    with pytest.raises(SettingsError) as caught, open_data_directory(directory.path):
        pass

    assert caught.value.as_dict() == {
        "error": f"another server uses the data directory {directory.path}",
        "code": "data_directory_in_use",
        "hint": "stop it, or set MOLECULE_DATA_DIR to another directory",
    }


def test_it_can_be_opened_again_afterwards(data: Path) -> None:
    with open_data_directory(data):
        pass

    with open_data_directory(data) as directory:
        assert directory.path == data


async def test_a_second_server_is_refused_until_the_first_is_killed(data: Path) -> None:
    server = await create_subprocess_exec(sys.executable, "-c", OTHER_SERVER, str(data), stdin=PIPE, stdout=PIPE)
    assert server.stdout is not None
    assert await server.stdout.readline() == b"open\n"
    with pytest.raises(SettingsError, match="another server"), open_data_directory(data):
        pass
    server.kill()
    await server.communicate(b"")

    with open_data_directory(data) as directory:
        assert directory.path == data


def test_a_place_that_cannot_be_a_directory_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError) as caught, open_data_directory(tmp_path / "file" / "molecule"):
        pass

    assert caught.value.as_dict() == {
        "error": f"the data directory {tmp_path}/file/molecule cannot be used: Not a directory",
        "code": "data_directory_unusable",
        "hint": "set MOLECULE_DATA_DIR to a directory that you may write to",
    }


def test_the_owners_token_stays_the_same(directory: DataDirectory) -> None:
    assert directory.owner_token() == directory.owner_token()


def test_the_owners_token_is_long_and_random(directory: DataDirectory, tmp_path: Path) -> None:
    token, other = directory.owner_token(), DataDirectory(path=tmp_path).owner_token()

    assert (len(token), token == other) == (43, False)


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_an_owners_token_that_is_blank_is_made_anew(directory: DataDirectory, text: str) -> None:
    (directory.path / "owner_token").write_text(text)

    assert len(directory.owner_token()) == 43


def test_no_id_is_known_before_the_first_start(directory: DataDirectory) -> None:
    assert directory.known_instance() is None


def test_a_mirrored_id_is_known(directory: DataDirectory) -> None:
    directory.mirror_instance(ID)

    assert directory.known_instance() == ID


@pytest.mark.parametrize("text", [b"", b"not an id", b"\xff\xfe"])
def test_what_is_no_id_is_not_believed(directory: DataDirectory, text: bytes) -> None:
    (directory.path / "instance").write_bytes(text)

    assert directory.known_instance() is None
