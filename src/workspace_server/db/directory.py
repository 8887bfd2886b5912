"""The data directory: private to its user, used by one server at a time."""

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import structlog

from workspace_server.errors import SettingsError, UnavailableError
from workspace_server.files import private_place, write_private
from workspace_server.model.secret import KEY_BYTES, parse_encryption_key

_MARKS = ("molecule.db", "lock")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """The files of one installation."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.path / "molecule.db"

    def known_instance(self) -> str | None:
        """The installation's id, as mirrored here; None before the first start."""
        try:
            return str(UUID((self.path / "instance").read_text().strip()))
        except (FileNotFoundError, ValueError):
            return None

    def mirror_instance(self, instance: str) -> None:
        """Keep the installation's id here as well as in the database."""
        if self.known_instance() != instance:
            write_private(self.path / "instance", instance + "\n")

    def server(self) -> str:
        """The name of the one server that uses this directory, among those on one database."""
        file = self.path / "server"
        try:
            return str(UUID(file.read_text().strip()))
        except (FileNotFoundError, ValueError):
            name = str(uuid4())
            write_private(file, name + "\n")
            return name

    def owner_token(self) -> str:
        """The owner's token, made when it is first asked for; readable by this directory's user only."""
        token = self.known_owner_token()
        if token is None:
            token = secrets.token_urlsafe(32)
            write_private(self.path / "owner_token", token + "\n")
        return token

    def encryption_keys(self) -> list[bytes]:
        """The keys of secrets at rest that were made here, the newest first; none before ``make_encryption_key``.

        Raises SettingsError for a damaged file.
        """
        try:
            return [parse_encryption_key(line) for line in self._encryption_keys.read_text().split()]
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise SettingsError(
                f"a line of {self._encryption_keys} {error}",
                hint="restore the file from a backup; the secrets that were saved with this key need it",
            ) from None

    def make_encryption_key(self) -> list[bytes]:
        """Add a new key before those that are here, and return them all. Whoever loses the file loses the secrets."""
        keys = [secrets.token_bytes(KEY_BYTES), *self.encryption_keys()]
        self.keep_encryption_keys(keys)
        log.info("an encryption key for secrets was made; back it up", path=str(self._encryption_keys))
        return keys

    def keep_encryption_keys(self, keys: Sequence[bytes]) -> None:
        """Let these be all."""
        write_private(self._encryption_keys, "".join(f"{base64.b64encode(key).decode()}\n" for key in keys))

    @property
    def _encryption_keys(self) -> Path:
        return self.path / "encryption_keys"

    def known_owner_token(self) -> str | None:
        """The owner's token for whoever may read it; None when it is not there, or not for this user."""
        try:
            return (self.path / "owner_token").read_text().strip() or None
        except (FileNotFoundError, PermissionError):
            return None


@contextmanager
def open_data_directory(path: Path) -> Iterator[DataDirectory]:
    """Make the directory when it is missing, and hold its lock until the block is left.

    Raises SettingsError ``data_directory_in_use`` when another server has it, UnavailableError when it cannot be used.
    """
    try:
        private_place(path, _MARKS)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnavailableError(
            f"the data directory {path} cannot be used: {error.strerror}",
            code="data_directory_unusable",
            hint="set MOLECULE_DATA_DIR to a directory that you may write to",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another server uses the data directory {path}",
                code="data_directory_in_use",
                hint="stop it, or set MOLECULE_DATA_DIR to another directory",
            ) from error
        yield DataDirectory(path=path)
    finally:
        os.close(lock)
