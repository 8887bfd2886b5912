"""After a cancel, what the engine says of the step, in words of the log."""

import pytest
from structlog.typing import EventDict

from workspace_server.engine import Engine
from workspace_server.errors import UnavailableError
from workspace_server.images import release
from workspace_server.model.build import BuildStep

STEP = BuildStep(n=2, of=2, name="RUN make")


def said(logs: list[EventDict]) -> list[tuple[str, str]]:
    return [(line["log_level"], line["event"]) for line in logs]


async def test_a_step_that_the_engine_lets_go_of_is_waited_for(
    engine: Engine, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True, True, False]

    async def runs_step(name: str) -> bool:
        assert name == "RUN make"
        return answers.pop(0)

    monkeypatch.setattr(engine, "runs_step", runs_step)
    monkeypatch.setattr(release, "_PAUSE", 0)
    await release.see_it_end(engine, STEP)

    ((level, event),) = said(logs)
    assert (answers, level, event.startswith("local-build: the engine has ended the cancelled step (")) == (
        [],
        "info",
        True,
    )


async def test_a_step_that_goes_on_is_no_failure_but_is_said(
    engine: Engine, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def runs_step(name: str) -> bool:
        return True

    monkeypatch.setattr(engine, "runs_step", runs_step)
    monkeypatch.setattr(release, "SECONDS", 0.1)
    await release.see_it_end(engine, STEP)

    assert said(logs) == [("warning", "local-build: the engine still works on a cancelled step after 0.1 s")]


async def test_an_engine_that_does_not_answer_is_no_failure_but_is_said(
    engine: Engine, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def runs_step(name: str) -> bool:
        raise UnavailableError("it is away", code="engine_unavailable")

    monkeypatch.setattr(engine, "runs_step", runs_step)
    await release.see_it_end(engine, STEP)

    assert said(logs) == [("warning", "local-build: the engine did not say whether a cancelled step ended")]
