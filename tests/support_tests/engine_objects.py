"""Objects on the engine that cost nothing, and the docker command."""

import io
import os
import re
import shutil
import tarfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import pytest

from support.engine import Engine
from support.git_objects import EXECUTABLE, File
from support.processes import running


def archive(files: Mapping[str, str | bytes | File]) -> bytes:
    """Return the files as a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            file = content if isinstance(content, File) else File(content)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(file.data), 0o755 if file.mode == EXECUTABLE else 0o644
            tar.addfile(entry, io.BytesIO(file.data))
    return out.getvalue()


def lay_out(files: Mapping[str, str | bytes | File], directory: Path) -> Path:
    """Write regular files into a directory, as a checkout would."""
    for name, content in files.items():
        file = content if isinstance(content, File) else File(content)
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(0o755 if file.mode == EXECUTABLE else 0o644)
    return directory


async def make_image(api: Engine, label: str, files: Mapping[str, str | bytes | File] | None = None) -> str:
    """Import an image with a label, without any build; return its id."""
    answer = await api.call(
        "POST", "/images/create", archive(files or {"file": "x"}), fromSrc="-", changes=f"LABEL {label}"
    )
    return str(answer["status"])


async def make_volume(api: Engine, name: str, label: str) -> None:
    await api.call("POST", "/volumes/create", volume(name, label))


def volume(name: str, label: str) -> dict[str, object]:
    key, _, value = label.partition("=")
    return {"Name": name, "Labels": {key: value}}


@asynccontextmanager
async def docker(
    address: str, *arguments: str, program: str = "docker", buildkit: bool = False, stdin: int = DEVNULL
) -> AsyncIterator[Process]:
    """Start a docker command that knows nothing of the user's configuration; both its outputs are one pipe."""
    with TemporaryDirectory() as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "DOCKER_HOST": address,
            "DOCKER_BUILDKIT": str(int(buildkit)),
        }
        async with running(program, *arguments, env=environment, stdout=PIPE, stdin=stdin, stderr=STDOUT) as process:
            yield process


async def docker_output(
    address: str,
    *arguments: str,
    program: str = "docker",
    buildkit: bool = False,
    stdin: bytes | None = None,
    code: int = 0,
) -> str:
    """Run a docker command to its end and return what it wrote; its exit code must be ``code``."""
    async with docker(
        address, *arguments, program=program, buildkit=buildkit, stdin=DEVNULL if stdin is None else PIPE
    ) as process:
        output, _ = await process.communicate(stdin)
    assert process.returncode == code, output.decode()
    return output.decode()


@cache
def buildkit_program() -> str:
    """Return a docker command that can build with BuildKit: by itself (20.10) or by its buildx plug-in."""
    for directory in os.environ["PATH"].split(os.pathsep):
        program = shutil.which("docker", path=directory)
        if program is None:
            continue
        words = run([program, "--version"], check=True, capture_output=True, text=True).stdout
        version = re.search(r"version (\d+)", words)
        if version is not None and 19 <= int(version[1]) < 23:
            return program
        if run([program, "buildx", "version"], check=False, capture_output=True).returncode == 0:
            return program
    pytest.fail("no docker command here can build with BuildKit", pytrace=False)
