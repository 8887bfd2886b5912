"""Following a build's log over HTTP: server-sent events, to the end or until the client goes away."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.listener import fields, listening
from support.rows import build
from support.server import InProcess
from workspace_server.api import stream
from workspace_server.errors import TemplateError
from workspace_server.model.build import BuildState, BuildStep

pytestmark = pytest.mark.asyncio(loop_scope="module")


def logged(app: InProcess, text: bytes) -> str:
    record = build(app)
    with app.services.on_engine.builds.open_log(record.id) as log:
        log.write(text)
    return record.id


async def followed(app: InProcess, record: str, **headers: str) -> list[Mapping[str, str]]:
    response = await app.call("GET", f"/images/builds/{record}/log?follow=1", headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    return [fields(event) for event in response.text.split("\n\n") if event]


async def test_a_followed_log_is_server_sent_events_with_the_byte_as_id(app: InProcess) -> None:
    record = logged(app, "zwölf\nb\n".encode())
    app.services.on_engine.builds.note_step(record, BuildStep(n=1, of=2, name="FROM a"))
    app.services.on_engine.builds.close(record, BuildState.SUCCEEDED)
    response = await app.call("GET", f"/images/builds/{record}/log?follow=1")
    step, first, second, end, rest = response.text.split("\n\n")
    assert step.startswith("id: 0\nevent: step\ndata: {")
    assert (first, second, rest) == (
        'id: 7\nevent: line\ndata: {"text":"zwölf"}',
        'id: 9\nevent: line\ndata: {"text":"b"}',
        "",
    )
    assert end.startswith("id: 9\nevent: end\ndata: {")


async def test_the_last_event_is_the_ended_build(app: InProcess) -> None:
    record = logged(app, b"")
    app.services.on_engine.builds.close(
        record, BuildState.FAILED, error=TemplateError("it failed", code="build_failed")
    )
    *_, end = await followed(app, record)
    assert json.loads(end["data"]) == (await app.call("GET", f"/images/builds/{record}")).json()


@pytest.mark.parametrize(("last", "rest"), [("0", ["a", "b", "c"]), ("2", ["b", "c"]), ("6", [])])
async def test_a_followed_log_goes_on_after_the_last_event(app: InProcess, last: str, rest: list[str]) -> None:
    record = logged(app, b"a\nb\nc\n")
    app.services.on_engine.builds.close(record, BuildState.SUCCEEDED)
    events = await followed(app, record, **{"Last-Event-ID": last})
    assert [json.loads(event["data"])["text"] for event in events if event["event"] == "line"] == rest


async def test_a_line_is_sent_as_soon_as_it_is_written(app: InProcess) -> None:
    record = build(app).id
    async with listening(app, f"/images/builds/{record}/log") as listener:
        for text in ("one", "two"):
            with app.services.on_engine.builds.open_log(record) as log:
                log.write(f"{text}\n".encode())
            assert await listener.next_data() == {"text": text}


async def test_silence_brings_a_comment(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_KEEP_ALIVE_SECONDS", 0.001)
    async with listening(app, f"/images/builds/{build(app).id}/log") as listener:
        assert [await listener.next() for _ in range(2)] == [": still here\n\n"] * 2


async def test_a_client_that_goes_away_leaves_no_task(app: InProcess) -> None:
    record = logged(app, b"one\n")
    async with listening(app, f"/images/builds/{record}/log") as listener:
        await listener.next()
        waiting = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_next"]
    assert ([task.done() for task in waiting], app.services.on_engine.builds.growth._bells) == ([True], {})


async def test_an_unknown_build_cannot_be_followed(app: InProcess) -> None:
    response = await app.call("GET", "/images/builds/01ARZ3NDEKTSV4RRFFQ69G5FAV/log?follow=1")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_build")


@pytest.mark.parametrize("last", ["-1", "x", "9" * 30])
async def test_a_place_in_the_log_that_cannot_be_is_refused(app: InProcess, last: str) -> None:
    record = logged(app, b"one\n")
    response = await app.call("GET", f"/images/builds/{record}/log?follow=1", headers={"Last-Event-ID": last})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_a_log_behind_a_link_is_not_shown(app: InProcess, tmp_path: Path) -> None:
    record = logged(app, b"one\n")
    path = app.services.on_engine.builds.log_path(record)
    (tmp_path / "secret").write_text("hush")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    answers = [await app.call("GET", f"/images/builds/{record}/log{follow}") for follow in ("", "?follow=1")]
    assert [(answer.status_code, "hush" in answer.text) for answer in answers] == [(404, False), (404, False)]
