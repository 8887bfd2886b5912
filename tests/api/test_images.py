"""The records of builds, and their logs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support.rows import COMMIT, build
from support.server import InProcess
from workspace_server.errors import TemplateError
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, BuildWait

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_build_that_waits_for_its_turn(app: InProcess) -> None:
    record = build(app)
    form = (await app.call("GET", f"/images/builds/{record.id}")).json()
    assert form.pop("started_at").endswith("Z")
    assert form.pop("seconds") >= 0
    assert form == {
        "id": record.id,
        "runtime": "langgraph",
        "commit": COMMIT,
        "build_id": record.build_id,
        "platform": "linux/amd64",
        "builder": None,
        "execution": None,
        "state": "queued",
        "reason": "no image",
        "phase": "queued",
        "waits_for": None,
        "step": None,
        "steps": [],
        "waiters": 0,
        "finished_at": None,
        "image": None,
        "digest": None,
        "image_id": None,
        "error": None,
        "log": f"/images/builds/{record.id}/log",
    }


async def test_a_build_that_runs_shows_its_steps_and_who_waits(app: InProcess) -> None:
    record = build(app)
    book = app.services.on_engine.builds
    book.update(record.id, state=BuildState.RUNNING, phase=BuildPhase.BUILD, builder="buildx 0.13.1")
    book.note_step(record.id, BuildStep(n=1, of=2, name="FROM a", cached=True, seconds=0.0))
    book.note_step(record.id, BuildStep(n=2, of=2, name="RUN b"))
    book.count_waiter(record.id, +1)
    form = (await app.call("GET", f"/images/builds/{record.id}")).json()
    assert (form["state"], form["phase"], form["builder"], form["waiters"]) == ("running", "build", "buildx 0.13.1", 1)
    began = {"n": 2, "of": 2, "name": "RUN b", "cached": False, "failed": False, "running": True}
    began |= {"done_bytes": None, "total_bytes": None}
    ended = {**began, "n": 1, "name": "FROM a", "cached": True, "running": False}
    assert form["steps"] == [{**ended, "seconds": 0}, {**began, "seconds": form["step"]["seconds"]}]
    assert (form["step"] == form["steps"][1], 0 <= form["step"]["seconds"] < 10) == (True, True)


async def test_a_step_that_runs_says_for_how_long_and_one_that_was_ended_does_not(app: InProcess) -> None:
    record, book = build(app).id, app.services.on_engine.builds
    book.note_step(record, BuildStep(n=1, of=2, name="RUN a"))
    (step,) = book.get(record).steps
    assert step.started_at is not None
    began = replace(step, started_at=step.started_at - timedelta(seconds=90))
    book.update(record, steps=(began,))
    running = (await app.call("GET", f"/images/builds/{record}")).json()["step"]
    book.close(record, BuildState.CANCELLED)
    ended = (await app.call("GET", f"/images/builds/{record}")).json()["step"]
    assert (running["running"], 90 <= running["seconds"] < 100) == (True, True)
    assert (ended["running"], ended["seconds"]) == (False, None)


async def test_what_a_build_waits_for_is_said(app: InProcess) -> None:
    record = build(app).id
    app.services.on_engine.builds.note_wait(record, BuildWait.PLACE)
    assert (await app.call("GET", f"/images/builds/{record}")).json()["waits_for"] == "place"


async def test_a_build_that_failed_says_why_in_the_form_of_an_error(app: InProcess) -> None:
    record = build(app)
    error = TemplateError("it failed", code="build_failed", hint="repair it")
    app.services.on_engine.builds.close(record.id, BuildState.FAILED, error=error)
    form = (await app.call("GET", f"/images/builds/{record.id}")).json()
    assert (form["state"], form["phase"]) == ("failed", "done")
    assert form["error"] == {"error": "it failed", "code": "build_failed", "hint": "repair it"}
    assert form["finished_at"].endswith("Z")


async def test_the_list_is_newest_first(app: InProcess) -> None:
    made = [build(app).id for _ in range(3)]
    listed = [each["id"] for each in (await app.call("GET", "/images/builds")).json()]
    assert [each for each in listed if each in made] == made[::-1]


async def test_the_list_can_be_of_one_runtime_and_short(app: InProcess) -> None:
    made = [build(app, "hermes").id for _ in range(3)]
    build(app, "crewai")
    listed = (await app.call("GET", "/images/builds?runtime=hermes&limit=2")).json()
    assert [each["id"] for each in listed] == [made[2], made[1]]


async def test_the_log_is_plain_text_from_its_first_byte(app: InProcess) -> None:
    record = build(app)
    with app.services.on_engine.builds.open_log(record.id) as log:
        log.write(b"first line\nsecond line\n")
    response = await app.call("GET", f"/images/builds/{record.id}/log")
    assert (response.status_code, response.content) == (200, b"first line\nsecond line\n")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_part_of_the_log_can_be_asked_for(app: InProcess) -> None:
    record = build(app)
    with app.services.on_engine.builds.open_log(record.id) as log:
        log.write(b"first line\nsecond line\n")
    response = await app.call("GET", f"/images/builds/{record.id}/log", headers={"Range": "bytes=11-"})
    assert (response.status_code, response.content) == (206, b"second line\n")
    assert response.headers["content-range"] == "bytes 11-22/23"


async def test_a_log_that_has_nothing_yet_is_empty(app: InProcess) -> None:
    response = await app.call("GET", f"/images/builds/{build(app).id}/log")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["", "/log"])
@pytest.mark.parametrize("identity", ["nope", "%2e%2e", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a" * 200])
async def test_an_unknown_build_is_404(app: InProcess, identity: str, path: str) -> None:
    response = await app.call("GET", f"/images/builds/{identity}{path}")
    assert response.status_code == 404
    if response.headers["content-type"].startswith("application/json"):
        assert response.json()["code"] == "unknown_build"
        assert len(response.text) < 200
