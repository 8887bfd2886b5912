"""What people do with workspaces: each use case checks, writes the wish, and wakes the reconciler."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from workspace_server.db import Database, EventStore, SecretStore, TokenStore, WorkspaceStore
from workspace_server.errors import InvalidRequestError, NotFoundError
from workspace_server.events import EventLog
from workspace_server.model.event import EventType
from workspace_server.model.workspace import WorkspaceSpec, WorkspaceStatus
from workspace_server.workspaces import Removal, WorkspaceService
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.service import ChildrenError
from workspace_server.workspaces.vault import Vault

SPEC = WorkspaceSpec(name="Ada", runtime="hermes", tier=2)


class Waker:
    """Counts how often the reconciler was woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def waker() -> Waker:
    return Waker()


@pytest.fixture
def service(
    database: Database, store: WorkspaceStore, tokens: TokenStore, events: EventLog, waker: Waker
) -> WorkspaceService:
    sealed = SecretService(database=database, store=SecretStore(database), vault=Vault([b"k" * 32]))
    return WorkspaceService(
        database=database, workspaces=store, tokens=tokens, events=events, secrets=sealed, wake=waker
    )


async def family(service: WorkspaceService) -> tuple[str, str, str]:
    """A parent, its child, and the child's child."""
    parent = await service.create(SPEC)
    child = await service.create(replace(SPEC, parent_id=parent))
    return parent, child, await service.create(replace(SPEC, parent_id=child))


async def events_of(database: Database, workspace: str) -> list[tuple[str, object]]:
    found = await EventStore(database).newest(limit=10, workspace_id=workspace)
    return [(event["event_type"], event["payload"]) for event in reversed(found)]


async def while_somebody_writes(
    database: Database, work: Callable[[], Awaitable[object]], meanwhile: Callable[..., Awaitable[object]]
) -> "asyncio.Future[object]":
    """Begin ``work``, which has to wait until ``meanwhile`` was written."""
    async with database.write() as tx:
        task = asyncio.ensure_future(work())
        while not database._writing._waiters:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        await meanwhile(tx)
    return task


# Create


async def test_a_new_workspace_wants_to_be_provisioned(service: WorkspaceService) -> None:
    workspace = await service.get(await service.create(replace(SPEC, role="critic", model="m", budget_limit=5, x=1.5)))

    assert (workspace.status, workspace.generation, workspace.name, workspace.runtime, workspace.tier) == (
        WorkspaceStatus.PROVISIONING,
        0,
        "Ada",
        "hermes",
        2,
    )
    assert (workspace.role, workspace.model, workspace.budget_limit, workspace.x) == ("critic", "m", 5, 1.5)
    assert UUID(workspace.id).version == 4


async def test_a_new_workspace_is_told_of(service: WorkspaceService, database: Database) -> None:
    workspace = await service.create(SPEC)

    assert await events_of(database, workspace) == [
        (
            EventType.PROVISIONING,
            {"name": "Ada", "tier": 2, "runtime": "hermes", "parent_id": None, "x": 0.0, "y": 0.0},
        )
    ]


async def test_the_reconciler_is_woken_when_the_wish_is_written(service: WorkspaceService, waker: Waker) -> None:
    await service.create(SPEC)

    assert waker.count == 1


@pytest.mark.parametrize("parent", ["unknown", "removed"])
async def test_an_absent_parent_is_refused_and_nothing_is_written(
    service: WorkspaceService, waker: Waker, parent: str
) -> None:
    identity = str(uuid4())
    if parent == "removed":
        identity = await service.create(SPEC)
        await service.remove(identity, confirmed=True, purge=False)
    before = waker.count

    with pytest.raises(InvalidRequestError) as caught:
        await service.create(replace(SPEC, parent_id=identity))

    assert (caught.value.code, caught.value.message) == ("unknown_parent", f"there is no parent workspace {identity}")
    assert (await service.present(), waker.count) == ([], before)


async def test_a_parent_that_is_removed_in_the_same_moment_gets_no_child(
    service: WorkspaceService, database: Database, store: WorkspaceStore
) -> None:
    parent = await service.create(SPEC)
    create = await while_somebody_writes(
        database,
        lambda: service.create(replace(SPEC, parent_id=parent)),
        lambda tx: store.remove(tx, parent, purge=False),
    )

    with pytest.raises(InvalidRequestError):
        await create
    assert await service.present() == []


# Read


async def test_an_unknown_workspace_is_not_found(service: WorkspaceService) -> None:
    with pytest.raises(NotFoundError) as caught:
        await service.get(str(uuid4()))

    assert caught.value.code == "workspace_not_found"


async def test_a_removed_workspace_can_be_read_and_is_not_listed(service: WorkspaceService) -> None:
    workspace = await service.create(SPEC)
    await service.remove(workspace, confirmed=True, purge=False)

    assert ((await service.get(workspace)).status, await service.present()) == (WorkspaceStatus.REMOVED, [])


# Remove


async def test_a_removal_marks_the_row_revokes_the_token_and_is_told_of(
    service: WorkspaceService, database: Database, tokens: TokenStore, waker: Waker
) -> None:
    workspace = await service.create(SPEC)
    async with database.write() as tx:
        token = await tokens.issue(tx, workspace)
    removal = await service.remove(workspace, confirmed=False, purge=False)

    assert removal == Removal(cascade_deleted=0, purged=False)
    assert ((await service.get(workspace)).status, await tokens.owner(token)) == (WorkspaceStatus.REMOVED, None)
    assert (await events_of(database, workspace))[-1] == (EventType.REMOVED, {"cascade_deleted": 0})
    assert waker.count == 2


async def test_children_are_not_removed_unless_that_was_confirmed(service: WorkspaceService) -> None:
    parent, child, _ = await family(service)

    with pytest.raises(ChildrenError) as caught:
        await service.remove(parent, confirmed=False, purge=False)

    assert ([each.id for each in caught.value.children], caught.value.code) == ([child], "confirmation_required")
    assert len(await service.present()) == 3


async def test_everything_below_goes_along_deepest_first(service: WorkspaceService, database: Database) -> None:
    parent, child, grandchild = await family(service)
    removal = await service.remove(parent, confirmed=True, purge=False)

    assert (removal.cascade_deleted, await service.present()) == (2, [])
    removed = [
        event for event in await EventStore(database).newest(limit=9) if event["event_type"] == EventType.REMOVED
    ]
    assert [
        (event["workspace_id"], event["payload"]) for event in sorted(removed, key=lambda each: each["created_at"])
    ] == [
        (grandchild, {}),
        (child, {}),
        (parent, {"cascade_deleted": 2}),
    ]


async def test_a_child_that_is_made_in_the_same_moment_asks_for_confirmation(
    service: WorkspaceService, database: Database, store: WorkspaceStore
) -> None:
    parent = await service.create(SPEC)
    remove = await while_somebody_writes(
        database,
        lambda: service.remove(parent, confirmed=False, purge=False),
        lambda tx: store.insert(tx, str(uuid4()), replace(SPEC, parent_id=parent)),
    )

    with pytest.raises(ChildrenError):
        await remove
    assert len(await service.present()) == 2


async def test_siblings_and_parents_stay(service: WorkspaceService) -> None:
    parent, child, _ = await family(service)
    sibling = await service.create(replace(SPEC, parent_id=parent))
    await service.remove(child, confirmed=True, purge=False)

    assert [workspace.id for workspace in await service.present()] == [parent, sibling]


async def test_a_removed_child_needs_no_confirmation(service: WorkspaceService) -> None:
    parent, child, _ = await family(service)
    await service.remove(child, confirmed=True, purge=False)

    assert await service.remove(parent, confirmed=False, purge=False) == Removal(cascade_deleted=0, purged=False)


async def test_removing_what_is_removed_or_was_never_there_changes_nothing(
    service: WorkspaceService, database: Database
) -> None:
    workspace = await service.create(SPEC)
    await service.remove(workspace, confirmed=True, purge=False)
    before = await events_of(database, workspace)

    for identity in (workspace, str(uuid4())):
        assert await service.remove(identity, confirmed=True, purge=False) == Removal(cascade_deleted=0, purged=False)
    assert await events_of(database, workspace) == before


async def test_a_purge_of_what_was_removed_is_still_to_be_done(
    service: WorkspaceService, database: Database, store: WorkspaceStore
) -> None:
    workspace = await service.create(SPEC)
    await service.remove(workspace, confirmed=True, purge=False)
    async with database.write() as tx:
        await store.mark_cleared(tx, workspace)
    removal = await service.remove(workspace, confirmed=True, purge=True)

    assert (removal, await store.to_clear()) == (Removal(cascade_deleted=0, purged=True), [(workspace, True)])
