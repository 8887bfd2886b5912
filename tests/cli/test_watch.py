"""Watching a build or a workspace: what is asked, until when, and what is made of the end."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from workspace_server.cli.client import Client
from workspace_server.cli.watch import watch_build, watch_until_online
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.build import BuildState, BuildStep
from workspace_server.model.workspace import Failure, Phase

from .conftest import Server, json_of
from .views import MOMENT, STEP, build, record, view

ClientOf = Callable[..., tuple[Client, Server]]

IMAGE, ENVIRONMENT, *_ = Phase
ALL = tuple((phase, "done") for phase in Phase)
FAILURE = Failure(code="build_failed", message="step 2 of 5 failed", hint="repair it")
ENDED = {"state": BuildState.SUCCEEDED, "finished_at": MOMENT}
RAN = BuildStep(n=1, of=2, name="RUN one", seconds=1.0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.cli.watch._POLL_SECONDS", 0)


def log() -> Console:
    """A console that is no terminal."""
    return Console(file=io.StringIO(), width=80, highlight=False)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def asked(server: Server) -> list[str]:
    return [request.url.path for request in server.requests]


# A workspace


async def test_it_ends_when_the_workspace_is_online(client_of: ClientOf) -> None:
    client, server = client_of(json_of(view((IMAGE, "running"))), json_of(view(*ALL, status="online")))
    await watch_until_online(client, "w", log())

    assert [request.url.path for request in server.requests] == ["/workspaces/w/provisioning"] * 2


async def test_a_degraded_workspace_is_online(client_of: ClientOf) -> None:
    client, _ = client_of(json_of(view(*ALL, status="degraded")))

    await watch_until_online(client, "w", log())


async def test_a_failure_is_raised_in_the_servers_words(client_of: ClientOf) -> None:
    client, _ = client_of(json_of(view((IMAGE, "failed"), status="failed", failure=FAILURE)))

    with pytest.raises(WorkspaceServerError) as caught:
        await watch_until_online(client, "w", log())

    assert (caught.value.message, caught.value.code, caught.value.hint) == (
        "step 2 of 5 failed",
        "build_failed",
        "repair it",
    )


@pytest.mark.parametrize("status", ["removed", "offline", "paused", "hibernated", "awaiting_agent", "failed"])
async def test_a_workspace_that_will_not_come_online_ends_it(client_of: ClientOf, status: str) -> None:
    client, _ = client_of(json_of(view(status=status)))

    with pytest.raises(WorkspaceServerError, match=f"the workspace is {status}"):
        await watch_until_online(client, "w", log())


async def test_the_steps_of_the_build_it_waits_for_are_shown(client_of: ClientOf) -> None:
    console = log()
    client, server = client_of(
        json_of(view((IMAGE, "running"), built=record())),
        json_of(build()),
        json_of(view((IMAGE, "running"), built=record(RAN))),
        json_of(build(RAN)),
        json_of(view(*ALL, status="online", built=record(RAN, **ENDED))),
        json_of(build(RAN, **ENDED)),
    )
    await watch_until_online(client, "w", console)

    assert asked(server) == ["/workspaces/w/provisioning", "/images/builds/01J"] * 3
    assert written(console)[:2] == ["  step 1 of 2: RUN one (1.0 s)", "  ✓ image 1.2 s"]


async def test_a_build_that_ended_is_not_asked_for_again(client_of: ClientOf) -> None:
    over = record(RAN, **ENDED)
    client, server = client_of(
        json_of(view((IMAGE, "done"), (ENVIRONMENT, "running"), built=over)),
        json_of(build(RAN, **ENDED)),
        json_of(view((IMAGE, "done"), (ENVIRONMENT, "running"), built=over)),
        json_of(view(*ALL, status="online", built=over)),
    )
    await watch_until_online(client, "w", log())

    assert asked(server).count("/images/builds/01J") == 1


async def test_of_a_workspace_that_was_online_before_no_old_build_is_told(client_of: ClientOf) -> None:
    console = log()
    client, server = client_of(json_of(view(*ALL, status="online", built=record(RAN, **ENDED))))
    await watch_until_online(client, "w", console)

    assert (asked(server), "step" in "".join(written(console))) == (["/workspaces/w/provisioning"], False)


# A build


async def test_a_build_is_watched_to_its_end(client_of: ClientOf) -> None:
    console = log()
    ended = build(RAN, **ENDED)
    client, server = client_of(json_of(build(STEP)), json_of(build(RAN)), json_of(ended))

    assert await watch_build(client, "01J", console) == ended
    assert written(console) == ["  step 1 of 2: RUN one (1.0 s)"]
    assert asked(server) == ["/images/builds/01J"] * 3


@pytest.mark.parametrize("state", [BuildState.FAILED, BuildState.CANCELLED])
async def test_a_build_that_did_not_end_well_is_handed_back_as_it_ended(client_of: ClientOf, state: BuildState) -> None:
    ended = build(state=state, finished_at=MOMENT, error={"error": "it failed", "code": "build_failed"})
    client, _ = client_of(json_of(ended))

    assert await watch_build(client, "01J", None) == ended
