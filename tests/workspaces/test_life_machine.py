"""Whatever people, agents, the engine and the server do in whatever order: what is wanted, is; and nothing else is.

Requests are not waited for, so that they meet each other half-way. ``MOLECULE_TEST_SEQUENCES`` sets how many sequences
are tried.
"""

import asyncio
import os
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from workspace_server.agents import AgentRegistry, Heartbeat, Outbound
from workspace_server.concurrency import TaskScope
from workspace_server.db import Database, EventStore, LeaseStore, SecretStore, TokenStore, WorkspaceStore, open_database
from workspace_server.db.schema import events as event_rows
from workspace_server.db.schema import tokens as token_rows
from workspace_server.db.schema import workspaces as workspace_rows
from workspace_server.engine import Engine
from workspace_server.errors import AuthError, ConflictError, InvalidRequestError, NotFoundError
from workspace_server.events import EventLog
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.model import names
from workspace_server.model.container import ContainerInfo
from workspace_server.model.event import EventType
from workspace_server.model.workspace import TRANSITIONS, Workspace, WorkspaceSpec, WorkspaceStatus
from workspace_server.settings import load_settings
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.engine_backend import EngineBackend
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates
from workspace_server.workspaces.vault import Vault

from .memory_engine import MemoryEngine, foreign

Status = WorkspaceStatus
SEQUENCES = int(os.environ.get("MOLECULE_TEST_SEQUENCES", "60"))
INSTANCE = "this-one"
MEMORY = Path("/dev/shm")  # where nothing waits for a disk
REFUSABLE = ["ensure_network", "ensure_volume", "create_container", "copy_files", "start", "remove_container"]
PASSES = st.integers(0, 40)
"""How far what is under way gets before the next thing happens."""

REFUSALS = (NotFoundError, ConflictError, AuthError, InvalidRequestError)
NEIGHBOURS = {
    "neighbour": {names.MANAGED: "true", names.INSTANCE: "another", names.WORKSPACE_ID: "w"},
    "somebody": {},
}
STATUS_OF = {
    EventType.PROVISIONING: {Status.PROVISIONING},
    EventType.ONLINE: {Status.ONLINE},
    EventType.OFFLINE: {Status.OFFLINE},
    EventType.DEGRADED: {Status.DEGRADED},
    EventType.PAUSED: {Status.PAUSED},
    EventType.HIBERNATED: {Status.HIBERNATING, Status.HIBERNATED},
    EventType.PROVISION_FAILED: {Status.FAILED},
    EventType.REMOVED: {Status.REMOVED},
}
RUNS = {Status.PROVISIONING, Status.ONLINE, Status.DEGRADED}
RESTS = {Status.PAUSED, Status.HIBERNATING, Status.HIBERNATED}


@cache
def migrated_database() -> bytes:
    """An empty database's file: to migrate one takes longer than most sequences."""

    async def make(path: Path) -> bytes:
        async with open_database(path):
            pass
        return path.read_bytes()  # noqa: ASYNC240 - nothing else runs

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder) / "molecule.db"))


class Images:
    """Every image is there."""

    class source:  # noqa: N801 - an attribute of the real one
        name = "local-build"

    async def ensure(self, runtime: str, _on_build: Any) -> EnsuredImage:
        await asyncio.sleep(0)
        return EnsuredImage(id=f"sha256:{runtime}", source="local-build", platform="linux/amd64")

    async def ensure_again(self, runtime: str, _known: Any, on_build: Any) -> EnsuredImage:
        return await self.ensure(runtime, on_build)

    async def template_config(self, _runtime: str, _image: EnsuredImage) -> None:
        return None


@dataclass
class Server:
    """The parts of one server process, on a database and an engine that outlive it."""

    scope: TaskScope
    leases: Leases
    reconciler: Reconciler
    service: WorkspaceService
    lifecycle: Lifecycle
    registry: AgentRegistry


def server(database: Database, engine: MemoryEngine) -> Server:
    store, tokens, log = WorkspaceStore(database), TokenStore(database), EventLog(EventStore(database))
    secrets = SecretService(database=database, store=SecretStore(database), vault=Vault([b"k" * 32]))
    scope = TaskScope()
    real_engine = cast("Engine", engine)
    own_settings = load_settings({"HOME": "/nonexistent", "PATH": ""})
    backend = EngineBackend(
        tokens=tokens,
        images=cast("ImageService", Images()),
        secrets=secrets,
        directories=WorkspaceDirectories(roots=[], private=[]),
        templates=ConfigTemplates(None),
        engine=real_engine,
        same_engine=SameEngine(database=database, engine=real_engine, shared=False),
        instance=INSTANCE,
        settings=own_settings,
        expose=Bridge().announce,
    )
    provisioner = Provisioner(database=database, workspaces=store, events=log, backend=backend, settings=own_settings)
    leases = Leases(database=database, store=LeaseStore(server="this", boot=uuid4().hex))
    reconciler = Reconciler(
        database=database,
        workspaces=store,
        events=log,
        backend=backend,
        provisioner=provisioner,
        leases=leases,
        stale_after=90,
        scope=scope,
    )
    lifecycle = Lifecycle(
        database=database,
        workspaces=store,
        events=log,
        templates=ConfigTemplates(None),
        wake=reconciler.wake,
        look=reconciler.look,
    )
    return Server(
        scope=scope,
        leases=leases,
        reconciler=reconciler,
        service=WorkspaceService(
            database=database, workspaces=store, tokens=tokens, events=log, secrets=secrets, wake=reconciler.wake
        ),
        lifecycle=lifecycle,
        registry=AgentRegistry(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=log,
            outbound=Outbound(loopback=True, private=True),
            machines_elsewhere=False,
        ),
    )


class Lives(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.later = 0.0
        loop = self.loop.get_loop()
        clock = loop.time
        loop.time = lambda: clock() + self.later  # type: ignore[method-assign] - time passes when a rule says so
        self.stack = AsyncExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)))
        (folder / "molecule.db").write_bytes(migrated_database())
        self.database = self.loop.run(self.stack.enter_async_context(open_database(folder / "molecule.db")))
        self.engine = MemoryEngine()
        self.neighbours = {name: ContainerInfo(**foreign(name, labels)) for name, labels in NEIGHBOURS.items()}
        self.engine.containers_ |= self.neighbours
        self.server = server(self.database, self.engine)

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.loop.run(self._end())
            self.loop.close()

    async def _end(self) -> None:
        await self.server.scope.__aexit__(None, None, None)
        await self.stack.aclose()

    # What happens

    def happens(self, what: Coroutine[Any, Any, Any], passes: int) -> Any:
        async def and_goes_on() -> Any:
            result = None
            with suppress(*REFUSALS):
                result = await what
            await self.server.reconciler.fulfil()
            for _ in range(passes):
                await asyncio.sleep(0)
            return result

        return self.loop.run(and_goes_on())

    @rule(target=ids, parent=st.none() | ids, passes=PASSES)
    def create(self, parent: str | None, passes: int) -> str:
        spec = WorkspaceSpec(name="a", runtime="hermes", tier=2, parent_id=parent)
        created = self.happens(self.server.service.create(spec), passes)
        return created or self.happens(
            self.server.service.create(WorkspaceSpec(name="a", runtime="hermes", tier=2)), passes
        )

    @rule(workspace=ids, purge=st.booleans(), passes=PASSES)
    def remove(self, workspace: str, passes: int, *, purge: bool) -> None:
        self.happens(self.server.service.remove(workspace, confirmed=True, purge=purge), passes)

    @rule(workspace=ids, passes=PASSES)
    def restart(self, workspace: str, passes: int) -> None:
        self.happens(self.server.lifecycle.restart(workspace), passes)

    @rule(workspace=ids, passes=PASSES)
    def pause(self, workspace: str, passes: int) -> None:
        self.happens(self.server.lifecycle.pause(workspace), passes)

    @rule(workspace=ids, passes=PASSES)
    def resume(self, workspace: str, passes: int) -> None:
        self.happens(self.server.lifecycle.resume(workspace), passes)

    @rule(workspace=ids, force=st.booleans(), passes=PASSES)
    def hibernate(self, workspace: str, passes: int, *, force: bool) -> None:
        self.happens(self.server.lifecycle.hibernate(workspace, force=force), passes)

    @rule(workspace=ids, passes=PASSES)
    def message(self, workspace: str, passes: int) -> None:
        self.happens(self.server.lifecycle.awake(workspace), passes)

    @rule(workspace=ids, passes=PASSES)
    def register(self, workspace: str, passes: int) -> None:
        self.happens(self.server.registry.register(workspace, {"name": "agent"}), passes)

    @rule(workspace=ids, errors=st.sampled_from([0.0, 0.9]), tasks=st.integers(0, 1), passes=PASSES)
    def heartbeat(self, workspace: str, errors: float, tasks: int, passes: int) -> None:
        beat = Heartbeat(error_rate=errors, active_tasks=tasks)
        self.happens(self.server.registry.heartbeat(workspace, beat), passes)

    @rule(workspace=ids)
    def container_dies(self, workspace: str) -> None:
        for container in self.engine.of(workspace):
            if container.running:
                self.engine.die(container)

    @rule(workspace=ids)
    def container_vanishes(self, workspace: str) -> None:
        """Somebody removes it by hand."""
        for container in self.engine.of(workspace):
            self.engine.die(container)
            del self.engine.containers_[container.id]

    @rule(passes=PASSES)
    def look(self, passes: int) -> None:
        self.happens(self.server.reconciler.observe(), passes)

    @rule(call=st.sampled_from(REFUSABLE))
    def engine_refuses(self, call: str) -> None:
        self.engine.refuse.add(call)

    @rule()
    def engine_goes(self) -> None:
        self.engine.away = True

    @rule()
    def engine_comes_back(self) -> None:
        self.engine.away = False

    @rule(seconds=st.sampled_from([3, 70, 700]))
    def time_passes(self, seconds: int) -> None:
        self.later += seconds
        older = sa.text(f"datetime(updated_at, '-{seconds} seconds')")
        statement = sa.update(workspace_rows).values(updated_at=older, restarts=[])

        async def pass_() -> None:
            async with self.database.write(durable=False) as tx:
                await tx.connection.execute(statement)

        self.loop.run(pass_())

    @rule()
    def server_restarts(self) -> None:
        """What it was about to do is lost, wherever it was."""
        self.loop.run(self.server.scope.__aexit__(None, None, None))
        self.server = server(self.database, self.engine)
        self.loop.run(self.server.leases.void_earlier())

    @rule(workspace=consumes(ids))
    def forget(self, workspace: str) -> None:
        """The person loses interest: the others meet each other more often."""

    # What must be

    @rule()
    def settle(self) -> None:
        """Everything that is asked for gets done; then rows, containers, volumes, tokens and events agree."""
        self.engine.away = False
        self.engine.refuse.clear()
        self.loop.run(self._come_to_rest())
        rows, cleared = self.loop.run(self._rows())
        self._check_containers(rows)
        self._check_rows(rows, cleared)
        self._check_volumes(rows)
        self.loop.run(self._check_tokens(rows))
        for row in rows.values():
            self.loop.run(self._check_events(row))
        assert self.engine.broken == []
        assert {name: self.engine.containers_.get(name) for name in NEIGHBOURS} == self.neighbours

    async def _come_to_rest(self) -> None:
        reconciler = self.server.reconciler
        for _ in range(4):
            await self._idle(reconciler)
            self.later += 400  # longer than any pause
            await reconciler.observe()
            await reconciler.fulfil()
        await self._idle(reconciler)

    async def _idle(self, reconciler: Reconciler) -> None:
        """Wait until every work has ended, or waits for an agent."""
        while busy := [task for name, task in reconciler._working.items() if not self._waits(reconciler, name)]:
            self.engine.changed.clear()
            change = asyncio.ensure_future(self.engine.changed.wait())
            await asyncio.wait([*busy, change], return_when=asyncio.FIRST_COMPLETED)
            change.cancel()

    def _waits(self, reconciler: Reconciler, workspace: str) -> bool:
        """Whether the newest container of a workspace runs, and its agent is waited for."""
        waited_for = self.engine.waited_for.get(workspace)
        return waited_for is not None and waited_for == reconciler._provisioning.get(workspace)

    async def _rows(self) -> tuple[dict[str, Workspace], set[str]]:
        async with self.database.read() as connection:
            ids = (await connection.execute(sa.select(workspace_rows.c.id, workspace_rows.c.cleared))).all()
        store = WorkspaceStore(self.database)
        found = [await store.get(each.id) for each in ids]
        return {row.id: row for row in found if row is not None}, {each.id for each in ids if each.cleared}

    def _check_containers(self, rows: dict[str, Workspace]) -> None:
        ours = [each for each in self.engine.containers_.values() if each.labels.get(names.INSTANCE) == INSTANCE]
        owners = [each.labels[names.WORKSPACE_ID] for each in ours]
        assert len(owners) == len(set(owners)), "one container a workspace"
        for container in ours:
            row = rows.get(container.labels[names.WORKSPACE_ID])
            assert row is not None, "no container without a row"
            assert row.status is not Status.REMOVED, "no removed workspace with a container"
            assert row.status not in RESTS, "what rests has no container"
            # What failed before the old container was touched leaves that as it is.
            if container.running and row.status is not Status.FAILED:
                assert container.labels[names.GENERATION] == str(row.generation), "what runs is the newest wish"

    def _check_rows(self, rows: dict[str, Workspace], cleared: set[str]) -> None:
        for row in rows.values():
            if row.status in RUNS:
                assert [each.running for each in self.engine.of(row.id)] == [True], f"{row.status} runs"
            assert row.status is not Status.HIBERNATING, "a hibernation comes to its end"
            if row.status is Status.REMOVED:
                assert row.id in cleared, "a removed workspace is cleared away"

    def _check_volumes(self, rows: dict[str, Workspace]) -> None:
        for name, labels in self.engine.volumes_.items():
            assert labels, f"the volume {name} carries labels"
            row = rows.get(labels[names.WORKSPACE_ID])
            assert row is not None, "no volume of a purged workspace"
            if row.status is Status.REMOVED:
                assert name == names.workspace_volume(row.id), "only its files are left of a removed one"

    async def _check_tokens(self, rows: dict[str, Workspace]) -> None:
        live = sa.select(token_rows.c.workspace_id).where(token_rows.c.revoked_at.is_(None))
        async with self.database.read() as connection:
            owners = set((await connection.execute(live)).scalars())
        gone = {row.id for row in rows.values() if row.status is Status.REMOVED}
        assert not owners & gone, "no token of a removed workspace"

    async def _check_events(self, row: Workspace) -> None:
        """The events tell a life that the table allows, and that led to where the row is."""
        told = sa.select(event_rows.c.event_type).where(event_rows.c.workspace_id == row.id)
        in_order = told.order_by(sa.text("structure_events.rowid"))
        async with self.database.read() as connection:
            types = list((await connection.execute(in_order)).scalars())
        statuses = [STATUS_OF[EventType(each)] for each in types if each != EventType.AGENT_CARD_UPDATED]
        assert statuses[0] == {Status.PROVISIONING}, types
        assert row.status in statuses[-1], f"{row.status} after {types}"
        for before, after in pairwise(statuses):
            again = before == after == {Status.PROVISIONING}
            assert again or any(after & TRANSITIONS[each] for each in before), types


class TestLives(Lives.TestCase):
    pass


TestLives = pytest.mark.slow(pytest.mark.timeout(60 + 5 * SEQUENCES)(TestLives))
TestLives.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
