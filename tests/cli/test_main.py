"""``workspace-server``: its commands, and how they end."""

import socket
import subprocess
import sys

import pytest

from workspace_server import __version__
from workspace_server.errors import WorkspaceServerError

from .conftest import Command


@pytest.fixture
def nobody() -> str:
    """A port that refuses connections for the length of the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1])


@pytest.mark.parametrize("name", ["serve", "settings", "runtimes", "images", "secrets"])
def test_the_help_names_every_command(command: Command, name: str) -> None:
    ended = command("--help")

    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if line.split()[:1] == [name]]


@pytest.mark.parametrize("name", ["serve", "settings", "runtimes", "images", "secrets"])
def test_every_command_explains_itself(command: Command, name: str) -> None:
    ended = command(name, "--help")

    assert (ended.code, f"workspace-server {name}" in ended.out) == (0, True)


def test_what_a_command_needs_is_loaded_when_it_was_chosen() -> None:
    program = "import sys, workspace_server.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert {"fastapi", "httpx", "pydantic", "sqlalchemy"}.isdisjoint(loaded)


def test_no_command_is_a_call_for_help(command: Command) -> None:
    ended = command()

    assert "Usage: workspace-server" in ended.out + ended.err


def test_the_version_is_printed(command: Command) -> None:
    ended = command("--version")

    assert (ended.code, ended.out) == (0, f"workspace-server {__version__}\n")


@pytest.mark.parametrize("name", ["serve", "settings", "runtimes"])
def test_a_wrong_setting_ends_any_command_with_2_and_a_sentence_on_stderr(command: Command, name: str) -> None:
    ended = command(name, MOLECULE_IMAGE_REGISTRY="https://ghcr.io")

    assert (ended.code, ended.out) == (2, "")
    first, hint = ended.err.splitlines()
    assert first.startswith("error: MOLECULE_IMAGE_REGISTRY='https://ghcr.io' ")
    assert hint.startswith("hint: for example MOLECULE_IMAGE_REGISTRY=")


def test_any_other_failure_ends_with_1_and_a_sentence_on_stderr(command: Command, nobody: str) -> None:
    ended = command("runtimes", PORT=nobody)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"error: no server answers at http://127.0.0.1:{nobody}\nhint: start it: workspace-server serve\n"
    )


def test_an_unknown_command_ends_with_2(command: Command) -> None:
    assert command("teleport").code == 2


def test_a_failure_shows_no_inside_of_the_program(command: Command, nobody: str) -> None:
    assert "Traceback" not in command("runtimes", PORT=nobody).err


def test_an_error_is_not_obeyed_by_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]52;c;cm0=\x07step 2\x9b2J failed\n\tlast line"

    def fail() -> None:
        raise WorkspaceServerError(evil, code="build_failed", hint="repair it")

    monkeypatch.setattr("workspace_server.cli.settings.print_settings", fail)
    ended = command("settings")

    assert ended.err == "error: step 2 failed\n\tlast line\nhint: repair it\n"
