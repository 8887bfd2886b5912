"""Workspaces as machines that a control plane starts elsewhere.

The protocol lists no machines and knows no labels, so the row remembers the one that was asked for: its generation is
written down before the control plane hears of it, and nothing else is asked for until that one has ended.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from workspace_server.concurrency import Deadline
from workspace_server.control_plane.faults import RefusedError
from workspace_server.control_plane.machines import Absences, ControlPlane, Order, State
from workspace_server.db import Instance, InstanceStore, TokenStore, Transaction, WorkspaceStore
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.model.workspace import Phase, Workspace, WorkspaceStatus
from workspace_server.settings import Settings
from workspace_server.workspaces.attempt import Attempt, SupersededError
from workspace_server.workspaces.backend import Machine, Start
from workspace_server.workspaces.environment import environment
from workspace_server.workspaces.logs import as_last_words
from workspace_server.workspaces.secrets import SecretService

log = structlog.get_logger(__name__)

SOURCE: Final = "control-plane"
GENERATION = "WORKSPACE_GENERATION"
"""The variable that tells one start of a workspace from the next: equal orders are one order."""

_LIVING = frozenset({WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED})
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: between two looks at a machine, for a look at each of all, and until one that is ended has ended.

    ``absence``: for how long the control plane says of a machine that there is none, before that is believed.
    """

    poll: float = 3.0
    look: float = 10.0
    end: float = 120.0
    absence: float = 60.0


class ControlPlaneBackend:
    """The backend that is a control plane."""

    image_source = SOURCE
    noun = "machine"
    longest_pause = 30.0
    phases = (Phase.ENVIRONMENT, Phase.END, Phase.START, Phase.ONLINE)

    def __init__(
        self,
        *,
        control_plane: ControlPlane,
        instances: InstanceStore,
        workspaces: WorkspaceStore,
        tokens: TokenStore,
        secrets: SecretService,
        settings: Settings,
        pace: Pace,
    ) -> None:
        self._control_plane = control_plane
        self._instances = instances
        self._workspaces = workspaces
        self._tokens = tokens
        self._secrets = secrets
        self._settings = settings
        self._pace = pace
        self._absences = Absences(pace.absence)
        self._looks = asyncio.Semaphore(_AT_ONCE)

    async def check(self) -> None:
        """Nothing: whether the control plane is there shows with each call, and what needs it waits."""

    async def prepare(self, attempt: Attempt) -> Start:
        """The environment. Of a configuration nothing is sent: the protocol has no place for files."""
        order = await self._order(attempt.workspace)
        return partial(self._start, attempt, order)

    async def _start(self, attempt: Attempt, order: Order) -> Machine:
        """The old machine has ended before the new one is asked for."""
        workspace = attempt.workspace
        # Of a new machine everything is new: there is no session to forget, and no configuration to write.
        await attempt.enter(Phase.END, apply_config=False, reset_session=False)
        await self.stop(workspace)

        async def expect(tx: Transaction) -> None:
            if not await self._instances.expect(tx, workspace.id, workspace.generation):
                raise SupersededError
            # No token can be put into a machine: the agent gets its own when it registers.
            await self._tokens.revoke_all(tx, workspace.id)

        await attempt.enter_with(Phase.START, expect)
        instance = await self._instances.of(workspace.id)
        if instance is None:
            raise SupersededError
        return _machine(await self._confirmed(instance, order, again=False), running=True)

    async def undo(self, attempt: Attempt) -> None:
        """End the machine of its generation."""
        await self.halt(attempt.workspace)

    async def running(self, workspace: Workspace) -> Machine | None:
        """The machine of exactly this generation, if it runs or is about to.

        One whose start was not answered is asked for once more, and is the same.
        """
        instance = await self._instances.of(workspace.id)
        if instance is None or instance.generation != workspace.generation:
            return None
        if instance.id is None:
            try:
                order = await self._order(workspace)
            except WorkspaceServerError:
                return None  # the next start ends it, and says why it cannot be made
            try:
                instance = await self._confirmed(instance, order, again=True)
            except RefusedError:
                return None
        return None if await self._has_ended(instance) else _machine(instance, running=True)

    async def machines(self) -> Sequence[Machine]:
        """Every machine that a row remembers. How it is, is asked of those alone whose agents should be there."""
        doubts: list[WorkspaceServerError] = []
        found = await asyncio.gather(*(self._looked_at(each, doubts) for each in await self._instances.all()))
        if doubts:
            log.warning("machines cannot be observed", count=len(doubts), error=doubts[0].message)
        return found

    async def _looked_at(self, instance: Instance, doubts: list[WorkspaceServerError]) -> Machine:
        if instance.status not in _LIVING:
            return _machine(instance, running=None)
        try:
            async with self._looks, Deadline(self._pace.look).limit("looking at a machine"):
                return await self._asked_about(instance)
        except (UnavailableError, DeadlineError, RefusedError) as error:
            doubts.append(error)
            return _machine(instance, running=None)

    async def _asked_about(self, instance: Instance) -> Machine:
        row = await self._workspaces.get(instance.workspace_id)
        if row is None or row.generation != instance.generation:
            return _machine(instance, running=None)  # wanted anew meanwhile: its order is another one's
        if instance.id is None:  # its agent called before the control plane said which it is
            instance = await self._confirmed(instance, await self._order(row), again=True)
        return _machine(instance, running=not await self._has_ended(instance))

    async def watch(self, notice: Callable[[], None]) -> None:
        """Nothing is told by itself: whoever looks at all machines, every few seconds, sees one that ended."""
        await asyncio.get_running_loop().create_future()

    async def wait_end(self, machine: Machine) -> str:
        """Wait until it ends, and say how; a doubtful answer is no end."""
        while True:
            await asyncio.sleep(self._pace.poll)
            try:
                ended = await self._is_over(machine.workspace_id, machine.id)
            except UnavailableError as error:
                log.warning("a machine cannot be observed", workspace=machine.workspace_id, error=error.message)
                continue
            if ended:
                return "(as the control plane says)"

    async def halt(self, workspace: Workspace) -> None:
        """End the machine of this generation. It is not kept: a machine that does nothing costs as much as another."""
        instance = await self._instances.of(workspace.id)
        if instance is not None and instance.generation == workspace.generation:
            await self._end(instance)

    async def stop(self, workspace: Workspace) -> None:
        """End its machine, whatever is known of it.

        Raises RefusedError when the control plane refuses, UnavailableError ``machine_not_ended`` when it does not end,
        SupersededError when another server has begun a later one.
        """
        instance = await self._instances.of(workspace.id)
        if instance is not None and instance.generation > workspace.generation:
            raise SupersededError
        await self.clear(workspace.id, purge=False)

    async def clear(self, workspace_id: str, *, purge: bool) -> None:
        """End its machine; there is nothing else of it."""
        instance = await self._instances.of(workspace_id)
        if instance is not None:
            await self._end(instance)

    async def last_words(self, workspace_id: str) -> str:
        """The last lines of its machine's console."""
        try:
            async with Deadline(self._pace.look).limit("reading the machine's console"):
                return as_last_words(await self._control_plane.console(workspace_id))
        except WorkspaceServerError:
            return "(its console could not be read)"

    async def _end(self, instance: Instance) -> None:
        """It has ended, by the control plane's own word, and the row knows it no more."""
        try:
            instance = await self._known(instance)
        except RefusedError:
            return  # there is none
        if instance.id is None:
            return
        try:
            accepted = await self._control_plane.stop(instance.workspace_id, instance.id)
        except RefusedError:
            if not await self._has_ended(instance):  # some refuse to end what has ended
                raise
            accepted = True
        try:
            async with Deadline(self._pace.end).limit("ending a machine"):
                while not await self._has_ended(instance, accepted=accepted):  # noqa: ASYNC110 - it must be asked
                    await asyncio.sleep(self._pace.poll)
        except DeadlineError as error:
            raise UnavailableError(
                f"the control plane was asked to end the workspace's machine {instance.id}, which still runs",
                code="machine_not_ended",
                hint="it is asked again by itself; if that lasts, see to the machine there",
            ) from error
        self._absences.forget(instance.id)
        await self._instances.forget(instance)
        log.info("machine ended", workspace=instance.workspace_id, machine=instance.id)

    async def _known(self, instance: Instance) -> Instance:
        """The machine with its id, for which it is asked for once more where the answer was lost.

        Should it only now be made, it is one that knows nothing and can do nothing. Raises RefusedError: there is none.
        """
        if instance.id is not None:
            return instance
        row = await self._workspaces.get(instance.workspace_id)
        if row is None:
            return instance
        return await self._confirmed(instance, self._empty_order(row, instance.generation), again=True)

    async def _confirmed(self, instance: Instance, order: Order, *, again: bool) -> Instance:
        """The machine with its id, which the row knows from now on. Raises RefusedError: there is none."""
        try:
            instance_id = await self._control_plane.start(order, again=again)
        except RefusedError:
            await self._instances.forget(instance)
            raise
        except UnavailableError as error:
            if error.code != "instance_unknown":
                await self._instances.forget(instance)
            raise
        await self._instances.confirm(instance, instance_id)
        return replace(instance, id=instance_id)

    async def _has_ended(self, instance: Instance, *, accepted: bool = False) -> bool:
        """Whether it runs no more. ``accepted``: its end was, so that there may be none from one moment to the next."""
        return await self._is_over(instance.workspace_id, instance.id or "", accepted=accepted)

    async def _is_over(self, workspace_id: str, instance_id: str, *, accepted: bool = False) -> bool:
        state = await self._control_plane.state(workspace_id, instance_id)
        absent = self._absences.are_believed(instance_id, state)
        return state is State.ENDED or absent or (accepted and state is State.GONE)

    async def _order(self, workspace: Workspace) -> Order:
        """The machine that a workspace's present generation wants. Raises UnavailableError for unreadable secrets."""
        secrets = await self._secrets.environment(workspace.id)
        variables = environment(workspace, self._settings.agents_url, secrets)
        order = self._empty_order(workspace, workspace.generation)
        return replace(order, env={**variables, **order.env}, secrets=frozenset(secrets.values()))

    def _empty_order(self, workspace: Workspace, generation: int) -> Order:
        """An order that tells its machine nothing but whose it is."""
        return Order(
            workspace_id=workspace.id,
            runtime=workspace.runtime,
            tier=workspace.tier,
            platform_url=self._settings.agents_url,
            env={"WORKSPACE_ID": workspace.id, GENERATION: str(generation)},
        )


def _machine(instance: Instance, *, running: bool | None) -> Machine:
    return Machine(
        id=instance.id or "",
        workspace_id=instance.workspace_id,
        generation=instance.generation,
        running=running,
        url=None,
    )
