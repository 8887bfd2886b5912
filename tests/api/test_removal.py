"""DELETE /workspaces/{id}: with its children, without them, for good."""

from typing import Any
from uuid import uuid4

import pytest

from support.database import only_sqlite
from support.rows import token_of, workspace
from support.server import InProcess, eventually
from workspace_server.model.workspace import WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def remove(app: InProcess, identity: str, query: str = "", *, status: int = 200) -> dict[str, Any]:
    response = await app.call("DELETE", f"/workspaces/{identity}{query}")
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def status_of(app: InProcess, identity: str) -> str:
    return str((await app.call("GET", f"/workspaces/{identity}")).json()["status"])


async def test_a_removed_workspace_is_still_shown_by_itself_and_listed_no_more(app: InProcess) -> None:
    identity = await workspace(app)
    assert await remove(app, identity) == {"status": "removed", "cascade_deleted": 0}
    assert await status_of(app, identity) == "removed"
    assert identity not in [each["id"] for each in (await app.call("GET", "/workspaces")).json()]


async def test_removing_twice_is_no_error(app: InProcess) -> None:
    identity = await workspace(app)
    for _ in range(2):
        assert await remove(app, identity) == {"status": "removed", "cascade_deleted": 0}


async def test_removing_what_never_was_is_no_error(app: InProcess) -> None:
    assert await remove(app, str(uuid4())) == {"status": "removed", "cascade_deleted": 0}


async def test_children_ask_for_confirmation(app: InProcess) -> None:
    parent = await workspace(app)
    first = await workspace(app, parent_id=parent, spec={"name": "first"})
    second = await workspace(app, parent_id=parent, spec={"name": "second"})
    assert await remove(app, parent, status=409) == {
        "status": "confirmation_required",
        "message": "this workspace has children that would be removed with it",
        "children": [{"id": first, "name": "first"}, {"id": second, "name": "second"}],
        "children_count": 2,
    }
    assert [await status_of(app, each) for each in (parent, first, second)] == ["online"] * 3


@pytest.mark.parametrize("query", ["?confirm=false", "?confirm=1", "?confirm=", "?purge=true"])
async def test_only_the_word_true_confirms(app: InProcess, query: str) -> None:
    parent = await workspace(app)
    await workspace(app, parent_id=parent)
    assert (await remove(app, parent, query, status=409))["status"] == "confirmation_required"


async def test_a_confirmed_removal_takes_everything_below_along(app: InProcess) -> None:
    parent = await workspace(app)
    child = await workspace(app, parent_id=parent)
    grandchild = await workspace(app, parent_id=child)
    other = await workspace(app)
    assert await remove(app, parent, "?confirm=true") == {"status": "removed", "cascade_deleted": 2}
    assert [await status_of(app, each) for each in (parent, child, grandchild)] == ["removed"] * 3
    assert await status_of(app, other) == "online"


async def test_removed_children_do_not_ask_again(app: InProcess) -> None:
    parent = await workspace(app)
    await remove(app, await workspace(app, parent_id=parent))
    assert await remove(app, parent) == {"status": "removed", "cascade_deleted": 0}


async def test_a_purge_says_so(app: InProcess) -> None:
    assert await remove(app, await workspace(app), "?purge=true") == {"status": "purged", "cascade_deleted": 0}


@pytest.mark.parametrize("status", list(set(WorkspaceStatus) - {WorkspaceStatus.REMOVED}))
async def test_a_workspace_can_be_removed_in_every_status(app: InProcess, status: WorkspaceStatus) -> None:
    identity = await workspace(app, status=WorkspaceStatus.ONLINE)
    await app.services.database.ping()
    async with app.services.database.write() as tx:
        assert await app.services.store.touch(tx, identity, status=status)
    await remove(app, identity)
    assert await status_of(app, identity) == "removed"


async def test_the_tokens_of_a_removed_workspace_are_refused(app: InProcess) -> None:
    identity = await workspace(app)
    token = await token_of(app, identity)
    await remove(app, identity)
    response = await app.call("GET", f"/workspaces/{identity}", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json()) == (401, {"error": "invalid token", "code": "invalid_token"})


@only_sqlite("PostgreSQL: nothing is tried on an engine that was never seen")
async def test_a_removal_wakes_the_one_who_clears_the_engine(app: InProcess) -> None:
    """The engine is away here: the wish is tried at once, and kept."""
    identity = await workspace(app)
    before = len(app.logs)
    await remove(app, identity)
    tried = await eventually(
        lambda: [line for line in app.logs[before:] if line.get("workspace") == identity], "the removal is tried"
    )
    assert (tried[0]["event"], tried[0]["code"]) == ("will try again", "engine_unavailable")
    assert identity in [each for each, _ in await app.services.store.to_clear()]
