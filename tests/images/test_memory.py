"""Builds that failed through their template are remembered for ten minutes; nothing else is."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.git_repository import Repository
from workspace_server.engine import ImageBuilder
from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    SourceError,
    TemplateError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.images import BuildRecord, ImageService, memory
from workspace_server.images.build import BuildWish
from workspace_server.images.memory import FailureMemory
from workspace_server.model.build import BuildFailure, BuildFault, BuildRequest, Execution
from workspace_server.runtimes import Template

from .conftest import Heard, Server, ServerOf

FORCED, ORDINARY = BuildWish(force=True), BuildWish()
FAILED = TemplateError("step 2 of 3 failed", code="build_failed", hint="the whole log: GET /x")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(memory, "time", made)
    return made


@pytest.fixture
def failures(clock: Clock) -> FailureMemory:
    return FailureMemory()


def recalled(failures: FailureMemory, build_id: str = "a") -> WorkspaceServerError:
    error = failures.recall(build_id)
    assert error is not None
    return error


@pytest.mark.parametrize("code", ["build_failed", "template_malformed"])
def test_a_fault_of_the_template_is_remembered_in_its_own_words(failures: FailureMemory, code: str) -> None:
    failures.remember("a", TemplateError("it is broken", code=code))

    error = recalled(failures)
    assert (type(error), error.message, error.code) == (TemplateError, "it is broken", code)


@pytest.mark.parametrize(
    "error",
    [
        SourceError("no base image", code="base_image_unavailable"),
        SourceError("the host is away", code="git_unreachable"),
        SourceError("not here", code="platform_unsupported"),
        ConflictError("ended by a person", code="build_cancelled"),
        UnavailableError("disk full", code="no_space"),
        UnavailableError("no engine", code="engine_unavailable"),
        DeadlineError("too long", code="build_timeout"),
        DeadlineError("too silent", code="build_stalled"),
    ],
    ids=lambda error: error.code,
)
def test_what_may_work_the_next_time_is_not_remembered(failures: FailureMemory, error: WorkspaceServerError) -> None:
    failures.remember("a", error)

    assert failures.recall("a") is None


def test_the_hint_says_how_long_ago_it_was_and_how_to_try_again(failures: FailureMemory, clock: Clock) -> None:
    failures.remember("a", FAILED)
    clock.now += 42

    assert recalled(failures).hint == (
        "it was built 42 s ago and is not tried again yet: commit a repair, "
        'or POST /images/builds {"runtime":…,"force":true}'
    )


def test_a_failure_is_remembered_until_ten_minutes_have_passed(failures: FailureMemory, clock: Clock) -> None:
    failures.remember("a", FAILED)
    clock.now += 599.9

    assert recalled(failures).code == "build_failed"


def test_a_failure_is_forgotten_after_ten_minutes(failures: FailureMemory, clock: Clock) -> None:
    failures.remember("a", FAILED)
    clock.now += 600

    assert failures.recall("a") is None


def test_another_build_id_has_not_failed(failures: FailureMemory) -> None:
    failures.remember("a", FAILED)

    assert failures.recall("b") is None


def test_a_person_can_have_it_forgotten(failures: FailureMemory) -> None:
    failures.remember("a", FAILED)
    failures.forget("a")

    assert failures.recall("a") is None


def test_forgetting_what_is_not_remembered_is_no_error(failures: FailureMemory) -> None:
    failures.forget("a")

    assert failures.recall("a") is None


def test_the_memory_does_not_grow_with_failures_that_are_long_past(failures: FailureMemory, clock: Clock) -> None:
    for number in range(100):
        failures.remember(str(number), FAILED)
        clock.now += 100

    assert len(failures._failures) <= 6


# What callers get


@dataclass(slots=True)
class Recorder:
    """A builder that notes what it is asked for, and fails as it is told."""

    fault: BuildFault = BuildFault.STEP
    requests: list[BuildRequest] = field(default_factory=list)
    description: str = "recorder"
    engine_platform: str = "linux/amd64"

    async def execution(self, platform: str) -> Execution:
        return Execution.NATIVE

    async def build(self, request: BuildRequest, *_: Any, **__: Any) -> BuildFailure:
        self.requests.append(request)
        return BuildFailure(fault=self.fault, step=None, exit_code=1, detail="no", tail=())

    async def chosen(self) -> ImageBuilder:
        return self  # type: ignore[return-value]


async def begun(server: Server, service: ImageService, runtime: str, wish: BuildWish = ORDINARY) -> BuildRecord:
    """Begin a build and wait for its end."""
    record = await service.begin_build(runtime, wish)
    assert isinstance(record, str)
    await asyncio.wait([running.flight for running in server.builds._jobs._running.values()])
    return server.book.get(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A runtime whose template failed to build a moment ago."""

    server: Server
    service: ImageService
    runtime: str
    recorder: Recorder
    error: Mapping[str, str]


@pytest.fixture
async def failed(server_of: ServerOf, template: Template) -> Failed:
    recorder = Recorder()
    server = server_of(choose=recorder.chosen)
    service = server.service(template)
    record = await begun(server, service, template.runtime)
    assert record.error is not None
    return Failed(server=server, service=service, runtime=template.runtime, recorder=recorder, error=record.error)


@pytest.mark.engine
async def test_a_workspace_gets_the_last_failure_of_the_template_without_a_build(failed: Failed) -> None:
    with pytest.raises(TemplateError) as caught:
        await failed.service.ensure(failed.runtime, Heard())

    assert (caught.value.message, len(failed.recorder.requests)) == (failed.error["error"], 1)


@pytest.mark.engine
async def test_a_build_that_is_not_forced_gets_the_last_failure_too(failed: Failed) -> None:
    with pytest.raises(TemplateError) as caught:
        await failed.service.begin_build(failed.runtime, ORDINARY)

    assert ('"force":true' in caught.value.hint, len(failed.recorder.requests)) == (True, 1)


@pytest.mark.engine
async def test_a_forced_build_is_tried_again(failed: Failed) -> None:
    await begun(failed.server, failed.service, failed.runtime, FORCED)

    assert len(failed.recorder.requests) == 2


@pytest.mark.engine
@pytest.mark.parametrize(
    ("wish", "options"),
    [
        (ORDINARY, (False, False)),
        (BuildWish(force=True, no_cache=True), (True, False)),
        (BuildWish(force=True, pull=True), (False, True)),
    ],
)
async def test_the_builder_is_asked_for_what_a_person_asked_for(
    server_of: ServerOf, template: Template, wish: BuildWish, options: tuple[bool, bool]
) -> None:
    recorder = Recorder()
    server = server_of(choose=recorder.chosen)
    await begun(server, server.service(template), template.runtime, wish)

    assert [(request.no_cache, request.pull) for request in recorder.requests] == [options]


@pytest.mark.engine
async def test_a_new_commit_is_tried_at_once(failed: Failed, repository: Repository) -> None:
    await repository.commit({"content": "repaired"})
    await begun(failed.server, failed.service, failed.runtime)

    assert len(failed.recorder.requests) == 2


@pytest.mark.engine
async def test_a_failure_of_the_engine_is_tried_again(failed: Failed, repository: Repository) -> None:
    failed.recorder.fault = BuildFault.ENGINE
    await repository.commit({"content": "other"})
    for _ in range(2):
        await begun(failed.server, failed.service, failed.runtime)

    assert len(failed.recorder.requests) == 3
