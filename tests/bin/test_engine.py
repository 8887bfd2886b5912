"""What the scripts say where no container engine can be used."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

NOBODY = 65534


def test_no_install_without_docker_says_in_one_sentence_what_to_install(run: Run, path_without_docker: str) -> None:
    result = run("bin/up", "--check", "--no-install", PATH=path_without_docker)
    assert (result.returncode, result.stdout) == (1, "✓ python environment (.venv)\n")
    assert result.stderr == (
        "✗ No container engine: install Docker (Debian, Ubuntu: apt-get install docker.io; "
        "else Docker Engine or Docker Desktop) and run this again.\n"
    )


@pytest.mark.usefixtures("docker_command")
def test_an_engine_that_the_user_named_is_not_replaced_by_another(run: Run, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/nothing.sock"
    result = run("bin/up", "--check", DOCKER_HOST=address)
    assert result.returncode == 1
    assert result.stderr.startswith(f"✗ The container engine at {address} does not answer, and DOCKER_HOST")


def test_a_socket_without_permission_is_told_from_an_engine_that_is_off(public_directory: Path) -> None:
    path = public_directory / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o400)
        lines = f'. bin/lib/load.sh; engine_address=unix://{path}; engine_explain; echo "$problem"'
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            cwd=public_directory,
            user=NOBODY if os.getuid() == 0 else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.stdout.startswith(f"You may not use the container engine's socket {path}: run this as root, or")


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """The scripts where every user can read them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copytree(Path(__file__).parents[2] / "bin", directory / "bin")
        yield directory


@pytest.fixture
def docker_command() -> None:
    """The docker command, without which no script gets as far as an engine."""
    if not shutil.which("docker"):
        pytest.fail(os.environ.get("MOLECULE_TEST_ENGINE_PROBLEM", "the docker command is missing"))
