"""A real PostgreSQL on the loopback interface: Debian's package, started on a directory of its own."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from .ports import free_port

ENCRYPTION_KEY = "the key of secrets in PostgreSQL"
_PASSWORD = "pass/word?#"  # what a URL has to quote
_QUOTED = "pass%2Fword%3F%23"
# Nothing of a test's database has to outlast a power cut. What is refused or waits is the same.
_QUICK = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB", "shared_buffers": "32MB"}
_START_SECONDS = 30


class Postgres:
    """A cluster; it runs between ``start`` and ``stop``."""

    def __init__(self, directory: Path, programs: Path, user: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.data = directory / "data"
        self._log = directory / "postgres.log"
        self._sockets = directory
        self._programs = programs
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", *, scheme: str = "postgresql") -> str:
        """The address of a database, for its owner."""
        return f"{scheme}://owner:{_QUOTED}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Make the cluster's files."""
        password = self._sockets / "password"
        password.write_text(_PASSWORD)
        options = ("--username=owner", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync", "--no-locale")
        made = subprocess.run(
            [self._programs / "initdb", "--pgdata", self.data, "--encoding=UTF8", *options],
            check=False,
            capture_output=True,
            cwd="/",
            env={},
            **self._user,
        )
        assert made.returncode == 0, made.stderr.decode()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = _QUICK | {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self._sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                cwd="/",
                env={},
                start_new_session=True,
                **self._user,
            )
        for _ in range(_START_SECONDS * 100):
            assert self._process.poll() is None, self._log.read_text()
            answer = subprocess.run(
                [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False, env={}
            )
            if answer.returncode == 0:
                return
        raise AssertionError(f"PostgreSQL does not answer:\n{self._log.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it: by default at once, as when its machine dies. Its files stay."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def kill(self) -> None:
        """End it and every process of it with ``kill -9``. Its files stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # so that it starts no other
        for each in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(each), signal.SIGKILL)
        self.stop(signal.SIGKILL)

    @asynccontextmanager
    async def connected(self, database: str = "postgres") -> AsyncIterator[Any]:
        """A connection past the product's own code."""
        connection = await asyncpg.connect(self.url(database))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """An empty database of one test: its name."""
        name = f"t_{secrets.token_hex(6)}"
        async with self.connected() as connection:
            await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            async with self.connected() as connection:
                await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres(*, disk: str | None = None) -> Iterator[Postgres]:
    """Run a new cluster; nothing of it is left. ``disk``: the size of its own file system, in memory (as root)."""
    programs, user = _programs(), _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    if "user" in user:
        os.chown(directory, user["user"], user["group"])
    cluster = Postgres(directory, programs, user)
    if disk is not None:
        cluster.data.mkdir()
        options = f"size={disk},mode=700,uid={user['user']},gid={user['group']}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", cluster.data], check=True)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        if disk is not None:
            subprocess.run(["umount", "-l", cluster.data], check=True)
        shutil.rmtree(directory)


def _programs() -> Path:
    packaged = next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
    found = packaged or shutil.which("initdb")
    if found is None:
        pytest.fail("PostgreSQL is missing: apt-get install postgresql", pytrace=False)
    return Path(found).resolve().parent


def _unprivileged() -> dict[str, Any]:
    """Whose process it is: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
