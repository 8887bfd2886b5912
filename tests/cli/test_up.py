"""What ``bin/up`` decides before it starts anything: its settings, and which workspace it greets."""

import io
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from workspace_server.cli.client import Client
from workspace_server.cli.up import Place, _first_workspace, _greet
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.repository import RepositoryUrl
from workspace_server.settings import Settings

from .conftest import Server, json_of
from .views import view

ClientOf = Callable[..., tuple[Client, Server]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path / "up", example=tmp_path / "echo")


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120, highlight=False)


def settings(place: Place, **environment: str) -> Settings:
    return place.settings({"HOME": str(place.root), **environment}, 9000)


def reply(text: str) -> httpx.Response:
    return json_of({"jsonrpc": "2.0", "id": "1", "result": {"parts": [{"kind": "text", "text": text}]}})


def known(status: str, runtime: str = "echo") -> dict[str, Any]:
    return {"id": f"{runtime}-{status}", "name": runtime, "runtime": runtime, "status": status}


# Settings


def test_everything_it_keeps_is_below_one_directory(place: Place) -> None:
    own = settings(place)

    for path in (own.data_dir, own.build_cache, place.log, place.repository):
        assert path.is_relative_to(place.root)


def test_the_example_is_a_runtime_beside_the_persons_own(place: Place) -> None:
    own = settings(place, MOLECULE_EXTRA_RUNTIMES="mine")

    assert own.extra_runtimes == ("mine", "echo")
    assert own.template_repositories["echo"] == RepositoryUrl.parse(place.repository.as_uri())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MOLECULE_IMAGE_REGISTRY", "ghcr.io/molecule-ai"),
        ("MOLECULE_DATA_DIR", "/elsewhere"),
        ("MOLECULE_LOCAL_BUILD_CACHE", "/elsewhere"),
        ("PORT", "1234"),
    ],
)
def test_a_persons_setting_does_not_lead_it_away_from_building_the_example(
    place: Place, variable: str, value: str
) -> None:
    assert settings(place, **{variable: value}) == settings(place)


def test_a_persons_other_settings_are_kept(place: Place) -> None:
    assert settings(place, MOLECULE_LOG_LEVEL="debug").log_level == "debug"


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", None), ("AMD64", None), ("aarch64", ""), ("arm64", "")])
def test_the_example_runs_natively_where_productions_platform_would_be_emulated(
    place: Place, monkeypatch: pytest.MonkeyPatch, machine: str, expected: str | None
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)

    assert settings(place).image_platform == expected
    assert settings(place, MOLECULE_IMAGE_PLATFORM="linux/386").image_platform == "linux/386"


# The first workspace


async def test_a_first_workspace_is_created_where_there_is_none(client_of: ClientOf, console: Console) -> None:
    client, server = client_of(json_of([]), json_of({"id": "new"}, 201), json_of(view(status="online")))

    assert await _first_workspace(client, console) == "new"
    assert [(request.method, request.url.path) for request in server.requests] == [
        ("GET", "/workspaces"),
        ("POST", "/workspaces"),
        ("GET", "/workspaces/new/provisioning"),
    ]


@pytest.mark.parametrize("status", ["online", "provisioning"])
async def test_that_of_an_earlier_run_is_used_again(client_of: ClientOf, console: Console, status: str) -> None:
    client, server = client_of(json_of([known("online", "hermes"), known(status)]), json_of(view(status="online")))

    assert await _first_workspace(client, console) == f"echo-{status}"
    assert [request.method for request in server.requests] == ["GET", "GET"]


@pytest.mark.parametrize("status", ["failed", "offline"])
async def test_one_that_does_not_work_is_not(client_of: ClientOf, console: Console, status: str) -> None:
    client, _ = client_of(json_of([known(status)]), json_of({"id": "new"}, 201), json_of(view(status="online")))

    assert await _first_workspace(client, console) == "new"


# The message


async def test_what_was_said_and_what_was_answered_are_shown(client_of: ClientOf, console: Console) -> None:
    client, _ = client_of(reply("Hello from your first workspace"))
    await _greet(client, "w", console)

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  you:  Hello from your first workspace",
        "  echo: Hello from your first workspace",
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply("something else"), "unexpected_reply"),
        (json_of({}), "unexpected_reply"),
        (json_of({"error": {"code": -32600}}), "agent_error"),
    ],
)
async def test_any_other_answer_is_an_error(
    client_of: ClientOf, console: Console, answer: httpx.Response, code: str
) -> None:
    client, _ = client_of(answer)

    with pytest.raises(WorkspaceServerError) as caught:
        await _greet(client, "w", console)

    assert caught.value.code == code
