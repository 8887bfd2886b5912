"""Which failures lead to an image of our own, and which images are removed."""

import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

UNREACHABLE = [
    'Error response from daemon: Get "https://registry.test/v2/": dial tcp: lookup registry.test: no such host',
    'Error response from daemon: Get "https://registry.test/v2/": dial tcp 192.0.2.1:443: connect: connection refused',
    'Error response from daemon: Get "https://registry.test/v2/": dial tcp 192.0.2.1:443: i/o timeout',
    'Error response from daemon: Get "https://registry.test/v2/": net/http: TLS handshake timeout',
    'Error response from daemon: Get "https://registry.test/v2/": request canceled (Client.Timeout exceeded)',
    "i/o timeout: no progress for 120 seconds",
]

REFUSED = [
    "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
    "Error response from daemon: pull access denied for python, repository does not exist",
    "Error response from daemon: manifest for python:3.11-slim not found: manifest unknown: manifest unknown",
    'Error response from daemon: Head "https://registry.test/v2/python/manifests/3.11-slim": unauthorized',
    "Error response from daemon: something that nobody has seen yet",
]


@pytest.mark.parametrize("words", UNREACHABLE)
def test_a_registry_that_cannot_be_reached_leads_to_an_image_of_our_own(shell: Run, words: str) -> None:
    assert shell('says_unreachable "$WORDS"', WORDS=words).returncode == 0


@pytest.mark.parametrize("words", REFUSED)
def test_a_registry_that_refuses_does_not(shell: Run, words: str) -> None:
    assert shell('says_unreachable "$WORDS"', WORDS=words).returncode == 1


def test_a_registry_that_refuses_is_quoted(shell: Run, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho toomanyrequests: try later >&2\nexit 1\n")
    docker.chmod(0o755)
    result = shell('base_image_ensure || fail "$problem"', PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert result.stderr == "✗ python:3.11-slim cannot be pulled: toomanyrequests: try later\n"


def test_a_pull_without_progress_is_ended(shell: Run) -> None:
    result = shell("run_unless_silent 1 pull.log sleep 60 || cat pull.log")
    assert result.stdout == "i/o timeout: no progress for 1 seconds\n"


def test_the_first_mirror_of_a_mirror_list_is_taken(shell: Run, project: Path) -> None:
    (project / "mirrors").write_text("# near\nhttp://mirror.test/debian priority:1\nhttp://other.test/debian\n")
    apt = f'apt-get() {{ echo "mirror+file:{project}/mirrors/"; }}'
    assert shell(f"{apt}; apt_repository Debian").stdout == "http://mirror.test/debian\n"


@pytest.mark.engine
def test_an_image_without_our_label_is_not_removed(shell: Run, image: Callable[..., str]) -> None:
    name = image()
    result = shell(f'base_image={name}; base_image_remove || fail "$problem"')
    assert result.returncode == 1
    assert result.stderr == f"✗ {name} was not made by bin/base-image (or is not there): nothing is removed.\n"
    assert _docker("image", "inspect", name).returncode == 0


@pytest.mark.engine
def test_an_image_with_our_label_is_removed(shell: Run, image: Callable[..., str]) -> None:
    name = image("--change", "LABEL molecule.base_image=debootstrap")
    assert shell(f"base_image={name}; base_image_remove").returncode == 0
    assert _docker("image", "inspect", name).returncode == 1


@pytest.mark.engine
def test_an_image_that_is_there_is_left_as_it_is(shell: Run, image: Callable[..., str]) -> None:
    name = image()
    before = _docker("image", "inspect", name).stdout
    result = shell(f"base_image={name}; base_image_ensure && base_image_describe")
    assert result.stdout == f"{name} (present)\n"
    assert _docker("image", "inspect", name).stdout == before


@pytest.fixture
def image() -> Iterator[Callable[..., str]]:
    """Make images of nothing, under names of their own."""
    if problem := os.environ.get("MOLECULE_TEST_ENGINE_PROBLEM"):
        pytest.fail(problem, pytrace=False)
    nothing = io.BytesIO()
    tarfile.open(fileobj=nothing, mode="w").close()
    names: list[str] = []

    def make(*options: str) -> str:
        names.append(f"molecule-test-{uuid.uuid4().hex}:1")
        made = _docker("import", *options, "-", names[-1], stdin=nothing.getvalue())
        assert made.returncode == 0, made.stderr
        return names[-1]

    yield make
    for name in names:
        _docker("image", "rm", "--force", name)


def _docker(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=60, check=False)
