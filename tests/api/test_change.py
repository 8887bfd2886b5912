"""Changing a workspace over HTTP: which fields, by whom, and what then waits for a restart."""

from pathlib import Path
from typing import Any

import pytest

from support.rows import token_of, workspace
from support.server import InProcess, in_process
from workspace_server.model.workspace import ImageOnRow, WorkspaceAccess, WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "00000000-0000-0000-0000-000000000000"
UPDATED = {"status": "updated"}
TO_RESTART = {"status": "updated", "needs_restart": True}


async def change(app: InProcess, identity: str, body: Any, *, status: int = 200, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await app.call("PATCH", f"/workspaces/{identity}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def row(app: InProcess, identity: str) -> Any:
    return await app.services.store.get(identity)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"name": "Ada"}, UPDATED),
        ({"role": "critic"}, UPDATED),
        ({"role": ""}, UPDATED),
        ({"x": 1.5, "y": -2}, UPDATED),
        ({"collapsed": True}, UPDATED),
        ({"tier": 3}, TO_RESTART),
        ({"tier": 2}, UPDATED),
        ({"runtime": "crewai"}, TO_RESTART),
        ({}, UPDATED),
    ],
    ids=str,
)
async def test_what_is_given_changes_and_the_rest_stays(app: InProcess, body: dict[str, Any], answer: Any) -> None:
    identity = await workspace(app)
    before = await row(app, identity)
    assert await change(app, identity, body) == answer

    after = await row(app, identity)
    assert {field: getattr(after, field) or "" for field in body} == body
    kept = ("name", "role", "tier", "runtime", "parent_id", "x", "y", "collapsed", "status", "generation")
    assert [getattr(after, field) for field in kept if field not in body] == [
        getattr(before, field) for field in kept if field not in body
    ]


@pytest.mark.parametrize("body", [{"x": 1}, {"y": 1}, {"status": "online", "url": "http://evil"}, {"name": None}])
async def test_what_says_nothing_changes_nothing(app: InProcess, body: dict[str, Any]) -> None:
    identity = await workspace(app, url="http://a")
    await change(app, identity, body)

    after = await row(app, identity)
    assert (after.name, after.x, after.y, after.url) == ("a", 0, 0, "http://a")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a\nb"}, "name must not contain newline characters"),
        ({"role": "a\rb"}, "role must not contain newline characters"),
        ({"name": "a|b"}, "name contains invalid characters"),
        ({"role": "{a}"}, "role contains invalid characters"),
        ({"name": "x" * 256}, "name must be at most 255 characters"),
        ({"role": "x" * 1001}, "role must be at most 1000 characters"),
        ({"runtime": "x" * 101}, "runtime must be at most 100 characters"),
        ({"runtime": "nope"}, "unknown runtime: nope"),
        ({"name": " "}, "name must not be empty"),
        ({"tier": 5}, "tier must be from 1 to 4"),
        ({"tier": 0}, "tier must be from 1 to 4"),
        ({"tier": "2"}, "invalid request body"),
        ({"parent_id": 5}, "invalid request body"),
        ({"parent_id": NOBODY}, f"there is no parent workspace {NOBODY}"),
        ({"workspace_dir": 5}, "invalid workspace directory"),
        ({"workspace_dir": "/etc"}, "invalid workspace directory"),
        ([], "invalid request body"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_with_the_reason(app: InProcess, body: Any, words: str) -> None:
    assert (await change(app, await workspace(app), body, status=400))["error"] == words


@pytest.mark.parametrize("status", [None, WorkspaceStatus.REMOVED])
async def test_a_workspace_that_is_not_there_cannot_be_changed(app: InProcess, status: WorkspaceStatus | None) -> None:
    identity = NOBODY if status is None else await workspace(app, status=status)

    assert (await change(app, identity, {"name": "b"}, status=404))["code"] == "workspace_not_found"


async def test_a_workspace_is_put_below_another_and_taken_out_again(app: InProcess) -> None:
    parent, child = await workspace(app), await workspace(app)
    assert await change(app, child, {"parent_id": parent}) == UPDATED
    below = (await row(app, child)).parent_id
    assert await change(app, child, {"parent_id": None}) == UPDATED

    assert (below, (await row(app, child)).parent_id) == (parent, None)


async def test_a_workspace_is_never_below_itself(app: InProcess) -> None:
    top = await workspace(app)
    middle = await workspace(app, parent_id=top)
    bottom = await workspace(app, parent_id=middle)

    codes = [(await change(app, top, {"parent_id": each}, status=400))["code"] for each in (top, middle, bottom)]
    assert codes == ["parent_cycle"] * 3


async def test_another_runtime_has_another_image(app: InProcess) -> None:
    identity = await workspace(app, image=ImageOnRow(source="local-build", id="sha256:1"))
    await change(app, identity, {"runtime": "langgraph"})
    same = (await row(app, identity)).image
    await change(app, identity, {"runtime": "crewai"})

    assert (same is not None, (await row(app, identity)).image) == (True, None)


@pytest.mark.parametrize("body", [{"tier": 4}, {"parent_id": None}, {"runtime": "crewai"}, {"workspace_dir": None}])
async def test_an_agent_gives_itself_nothing_that_it_was_not_given(app: InProcess, body: dict[str, Any]) -> None:
    identity = await workspace(app)
    token = await token_of(app, identity)

    assert (await change(app, identity, body, status=403, token=token))["code"] == "forbidden"
    assert await change(app, identity, {"name": "mine"}, token=token) == UPDATED


async def test_the_highest_tier_holds_for_changes_as_well(tmp_path: Path) -> None:
    async with in_process(tmp_path, MOLECULE_MAX_TIER="2") as app:
        identity = await workspace(app, spec={"tier": 4})
        refused = await change(app, identity, {"tier": 3}, status=400)
        restarted = await app.call("POST", f"/workspaces/{identity}/restart")

    assert (refused["error"], restarted.status_code) == ("tier must be from 1 to 2", 200)


async def test_a_directory_is_given_and_taken_away(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    async with in_process(tmp_path) as app:
        identity = await workspace(app)
        assert await change(app, identity, {"workspace_dir": f"{tmp_path}/project"}) == TO_RESTART
        given = await row(app, identity)
        listed = (await app.call("GET", "/workspaces")).json()[0]["workspace_dir"]
        assert await change(app, identity, {"workspace_dir": None}) == TO_RESTART
        taken = await row(app, identity)

    assert (given.workspace_dir, given.workspace_access, listed) == (
        f"{tmp_path}/project",
        WorkspaceAccess.READ_WRITE,
        f"{tmp_path}/project",
    )
    assert (taken.workspace_dir, taken.workspace_access) == (None, WorkspaceAccess.NONE)


@pytest.mark.parametrize(
    ("access", "status", "answer"),
    [(None, 201, "read_write"), ("read_only", 201, "read_only"), ("none", 201, "none"), ("rw", 400, None)],
)
async def test_a_create_may_name_a_directory(tmp_path: Path, access: str | None, status: int, answer: str) -> None:
    (tmp_path / "project").mkdir()
    body = {"name": "a", "workspace_dir": f"{tmp_path}/project"} | ({"workspace_access": access} if access else {})
    async with in_process(tmp_path) as app:
        created = await app.call("POST", "/workspaces", json=body)

    assert (created.status_code, created.json().get("workspace_access")) == (status, answer)
