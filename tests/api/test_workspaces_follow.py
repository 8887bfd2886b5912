"""Following a provisioning over HTTP: who may, what comes, and what is left when the client goes away."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from support.database import only_sqlite
from support.listener import fields, listening
from support.rows import build, token_of, workspace
from support.server import InProcess
from workspace_server.api import stream
from workspace_server.model.build import BuildPhase, BuildState, BuildStep
from workspace_server.model.workspace import Failure, ImageOnRow, WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILED = Failure(code="build_failed", message="step 2 of 5 failed", hint="repair it")


@pytest.fixture(autouse=True)
def nobody_provisions(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to the rows is written by the test."""

    async def none(*statuses: WorkspaceStatus) -> list[Any]:
        return []

    monkeypatch.setattr(app.services.store, "with_status", none)


def following(app: InProcess, identity: str) -> Any:
    return listening(app, f"/workspaces/{identity}/provisioning")


async def plain(app: InProcess, identity: str) -> Any:
    return (await app.call("GET", f"/workspaces/{identity}/provisioning")).json()


def timeless(view: Any) -> Any:
    """The view without the seconds that pass between two looks."""
    if isinstance(view, Mapping):
        return {key: timeless(value) for key, value in view.items() if key != "seconds"}
    return [timeless(each) for each in view] if isinstance(view, list) else view


async def change(app: InProcess, identity: str, **changes: Any) -> None:
    async with app.services.database.write() as tx:
        assert await app.services.store.touch(tx, identity, **changes)


async def move(app: InProcess, identity: str, status: WorkspaceStatus, **changes: Any) -> None:
    async with app.services.database.write() as tx:
        assert await app.services.store.move(tx, identity, status, **changes)


async def provisioning(app: InProcess, **columns: Any) -> str:
    return await workspace(app, status=WorkspaceStatus.PROVISIONING, **columns)


async def test_what_comes_at_once_is_the_plain_view(app: InProcess) -> None:
    image = ImageOnRow(source="local-build", build=build(app).id)
    identity = await provisioning(app, image=image)
    async with following(app, identity) as listener:
        event = fields(await listener.next())
    assert event["event"] == "provisioning"
    assert timeless(json.loads(event["data"])) == timeless(await plain(app, identity))


async def test_each_change_of_the_row_or_its_build_is_an_event(app: InProcess) -> None:
    record, book = build(app).id, app.services.on_engine.builds
    identity = await provisioning(app, image=ImageOnRow(source="local-build", build=record))
    async with following(app, identity) as listener:
        seen = [await listener.next_data()]
        book.update(record, state=BuildState.RUNNING, phase=BuildPhase.BUILD)
        seen.append(await listener.next_data())
        book.note_step(record, BuildStep(n=1, of=2, name="FROM a"))
        seen.append(await listener.next_data())
        await change(app, identity, failure=FAILED)
        seen.append(await listener.next_data())
    told = [
        (
            view["build"]["state"],
            view["build"]["phase"],
            (view["build"]["step"] or {}).get("name"),
            (view["error"] or {}).get("code"),
        )
        for view in seen
    ]
    assert told == [
        ("queued", "queued", None, None),
        ("running", "build", None, None),
        ("running", "build", "FROM a", None),
        ("running", "build", "FROM a", "build_failed"),
    ]


async def test_the_status_that_ends_the_provisioning_is_the_last_event(app: InProcess) -> None:
    identity = await provisioning(app)
    following = asyncio.create_task(app.call("GET", f"/workspaces/{identity}/provisioning?follow=1"))
    while not app.services.store.changes._bells:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    await move(app, identity, WorkspaceStatus.FAILED, failure=FAILED)
    response = await following
    assert response.headers["content-type"].startswith("text/event-stream")
    *_, last = [json.loads(fields(event)["data"]) for event in response.text.split("\n\n") if event]
    assert (last["status"], last["error"]) == ("failed", (await plain(app, identity))["error"])


@pytest.mark.parametrize("status", [WorkspaceStatus.ONLINE, WorkspaceStatus.FAILED, WorkspaceStatus.REMOVED])
async def test_a_workspace_that_is_not_provisioned_is_one_event(app: InProcess, status: WorkspaceStatus) -> None:
    identity = await workspace(app, status=status)
    response = await app.call("GET", f"/workspaces/{identity}/provisioning?follow=1")
    (event,) = [event for event in response.text.split("\n\n") if event]
    assert json.loads(fields(event)["data"])["status"] == status


async def test_silence_brings_a_comment(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_KEEP_ALIVE_SECONDS", 0.001)
    async with following(app, await provisioning(app)) as listener:
        heard = [await listener.next() for _ in range(9)]
    assert set(heard[-2:]) == {": still here\n\n"}


@only_sqlite("PostgreSQL: there are tasks of its own")
async def test_a_client_that_goes_away_leaves_no_task_and_no_listener(app: InProcess) -> None:
    identity = await provisioning(app, image=ImageOnRow(source="local-build", build=build(app).id))
    before = asyncio.all_tasks()
    async with following(app, identity) as listener:
        await listener.next()
        while len(asyncio.all_tasks() - before) < 4:  # noqa: ASYNC110 - the request, the sender, and two waits
            await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert (left, app.services.store.changes._bells, app.services.on_engine.builds.changes._bells) == (set(), {}, {})


async def test_a_workspace_follows_its_own(app: InProcess) -> None:
    identity = await workspace(app)
    headers = {"Authorization": f"Bearer {await token_of(app, identity)}"}
    path = f"/workspaces/{identity}/provisioning?follow=1"
    response = await app.call("GET", path, peer="172.23.0.2", headers=headers)
    assert (response.status_code, response.text.startswith("event: provisioning\n")) == (200, True)


async def test_a_workspace_follows_no_other(app: InProcess) -> None:
    headers = {"Authorization": f"Bearer {await token_of(app, await workspace(app))}"}
    path = f"/workspaces/{await workspace(app)}/provisioning?follow=1"
    response = await app.call("GET", path, peer="172.23.0.2", headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_strangers_follow_nothing(app: InProcess) -> None:
    path = f"/workspaces/{await workspace(app)}/provisioning?follow=1"
    assert (await app.call("GET", path, peer="172.23.0.2")).status_code == 401


async def test_an_unknown_workspace_cannot_be_followed(app: InProcess) -> None:
    response = await app.call("GET", f"/workspaces/{uuid4()}/provisioning?follow=1")
    assert (response.status_code, response.json()["code"]) == (404, "workspace_not_found")
