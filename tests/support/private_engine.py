"""An engine of its own, which tests may stop, kill and fill, in a network namespace without any other.

``bin/test faults`` makes the namespace: two engines in one would take each other's bridges and rules away.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .templates import BASE_IMAGE

OWN_NETWORK = "MOLECULE_TEST_OWN_NETWORK"
_ATTEMPTS = 600
_ATTEMPT_SECONDS = 0.1


class PrivateEngine:
    """A dockerd; it runs between ``start`` and ``stop`` or ``kill``."""

    def __init__(self, directory: Path) -> None:
        self.address = f"unix://{directory / 'sock'}"
        self.data = directory / "data"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self._directory / "config.json").write_text("{}")  # the host's own is for the host's engine
        options = {"data-root": self.data, "exec-root": self._directory / "run", "pidfile": self._directory / "pid"}
        options |= {"config-file": self._directory / "config.json", "shutdown-timeout": 3}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", self.address]
                + [word for name, value in options.items() for word in (f"--{name}", str(value))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(_ATTEMPTS):
            assert self._process.poll() is None, (self._directory / "log").read_text()[-2000:]
            if self.docker("version", check=False).returncode == 0:
                return
            time.sleep(_ATTEMPT_SECONDS)
        raise AssertionError(f"the private dockerd does not answer:\n{(self._directory / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it as a system does, and its containers with it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; its containers go on."""
        self._end(signal.SIGKILL)
        # Its containerd ends with it, a moment later; the next dockerd would take that one for alive, and wait for it.
        mark = self._directory / "run/containerd/containerd.pid"
        ended = Path("/proc") / mark.read_text().strip() / "stat"
        for _ in range(_ATTEMPTS):
            if not ended.exists() or ended.read_text().rpartition(") ")[2].startswith("Z"):
                break
            time.sleep(_ATTEMPT_SECONDS)
        mark.unlink()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run docker's command line on it."""
        return subprocess.run(["docker", "--host", self.address, *arguments], check=check, capture_output=True)

    def load_base_image(self, source: str) -> None:
        """Copy the templates' base image from the engine at ``source``."""
        with subprocess.Popen(["docker", "--host", source, "save", BASE_IMAGE], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", self.address, "load"], stdin=saved.stdout, check=True, capture_output=True
            )
        assert saved.returncode == 0

    def end_rest(self) -> None:
        """Stop it, and end what a killed one left: its containerd, shims and containers."""
        if self._process is not None and (running := self.docker("ps", "-aq", check=False).stdout.split()):
            self.docker("rm", "--force", *(each.decode() for each in running), check=False)
        self.stop()
        containers = [path.name for path in (self.data / "containers").glob("*")]
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                arguments, group = (process / "cmdline").read_bytes(), (process / "cgroup").read_text()
                if f"{self._directory}/".encode() in arguments or any(each in group for each in containers):
                    os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def private_engine(source: str, data: Path | None = None) -> Iterator[PrivateEngine]:
    """Run one, with the base image of the engine at ``source``; nothing of it is left. ``data``: its files' place."""
    if not os.environ.get(OWN_NETWORK):
        pytest.fail("an engine of its own needs a network of its own: run bin/test faults", pytrace=False)
    directory = Path(tempfile.mkdtemp(prefix="engine.", dir="/var/tmp"))  # a short path; /tmp may be memory
    engine = PrivateEngine(directory)
    engine.data = data or engine.data
    try:
        engine.start()
        engine.load_base_image(source)
        yield engine
    finally:
        engine.end_rest()
        for mounted in _mounts_below(directory):
            subprocess.run(["umount", "-l", mounted], check=False)
        shutil.rmtree(directory)


def _mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted((line.split()[4] for line in lines if line.split()[4].startswith(f"{directory}/")), reverse=True)
