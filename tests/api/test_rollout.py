"""The route that refreshes images: what it takes, and what it says. What it does is tested beside the roll-out."""

from typing import Any

import pytest

from support.server import InProcess
from workspace_server.errors import SourceError
from workspace_server.workspaces.rollout import Refreshed, Rollout

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUTE = "/admin/workspace-images/refresh"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, bool, bool]]:
    """What a refresh was asked for; it does nothing, and says that everything happened."""
    calls: list[tuple[str | None, bool, bool]] = []

    async def refresh(_: Rollout, runtime: str | None, *, recreate: bool, force: bool) -> Refreshed:
        calls.append((runtime, recreate, force))
        denied = SourceError("no", code="registry_denied", hint="log in")
        return Refreshed(
            pulled=["codex"], built=["crewai"], failed={"hermes": denied}, recreated=["ws-1"], left={"ws-2": "busy"}
        )

    monkeypatch.setattr(Rollout, "refresh", refresh)
    return calls


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (None, True, False)),
        ("?runtime=", (None, True, False)),
        ("?runtime=hermes", ("hermes", True, False)),
        ("?recreate=true&force=true", (None, True, True)),
        ("?recreate=false&force=false", (None, False, False)),
        ("?recreate=&force=", (None, False, False)),
        ("?recreate=TRUE&force=1", (None, False, False)),
        ("?recreate=1", (None, False, False)),
    ],
)
async def test_only_the_word_true_is_true(
    app: InProcess,
    asked: list[tuple[str | None, bool, bool]],
    query: str,
    expected: tuple[str | None, bool, bool],
) -> None:
    assert (await app.call("POST", ROUTE + query)).status_code == 200
    assert asked == [expected]


async def test_the_answer_says_what_was_done_what_was_left_and_what_failed_why(
    app: InProcess, asked: list[tuple[str | None, bool, bool]]
) -> None:
    assert (await app.call("POST", ROUTE)).json() == {
        "pulled": ["codex"],
        "built": ["crewai"],
        "failed": ["hermes"],
        "errors": {"hermes": {"error": "no", "code": "registry_denied", "hint": "log in"}},
        "recreated": ["ws-1"],
        "left": {"ws-2": "busy"},
    }


@pytest.mark.parametrize("runtime", ["external", "nonesuch", "Hermes", "../hermes"])
async def test_an_unknown_runtime_is_refused_with_the_known_ones(app: InProcess, runtime: str) -> None:
    answer = await app.call("POST", f"{ROUTE}?runtime={runtime}")
    known = app.services.runtimes.names

    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": f"unknown runtime: {runtime}",
            "code": "unknown_runtime",
            "hint": f"known runtimes: {', '.join(known)}",
            "known_runtimes": known,
        },
    )


@pytest.mark.parametrize(("query", "failed"), [("", []), ("?runtime=hermes", ["hermes"])])
async def test_without_an_engine_it_says_so_and_what_was_done_before(
    app: InProcess, query: str, failed: list[str]
) -> None:
    answer = await app.call("POST", ROUTE + query)
    body: Any = answer.json()

    assert (answer.status_code, body["code"], body["partial_result"]["failed"]) == (500, "engine_unavailable", failed)
    assert body["partial_result"].keys() == {"pulled", "built", "failed", "errors", "recreated", "left"}
