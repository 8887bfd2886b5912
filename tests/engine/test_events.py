"""What the engine tells about containers, across its absences."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine, EngineEvent, EventAction
from workspace_server.model.container import ContainerSpec

from .test_containers import ended

Stream = AsyncGenerator[EngineEvent, None]


async def upto(stream: Stream, action: EventAction) -> list[EngineEvent]:
    """The events up to the first one of that action."""
    events = []
    async for event in stream:
        events.append(event)
        if event.action is action:
            return events
    raise AssertionError("the stream ended")


@pytest.fixture
def own(spec: ContainerSpec) -> ContainerSpec:
    """A container that can be told from those of other tests by a label."""
    return replace(spec, labels={**spec.labels, "test": spec.name})


@pytest.fixture
def mine(own: ContainerSpec) -> Mapping[str, str]:
    return {"test": own.name}


@pytest.mark.engine
async def test_a_stream_begins_when_nothing_can_be_missed_any_more(engine: Engine, mine: Mapping[str, str]) -> None:
    async with aclosing(engine.events(labels=mine)) as stream:
        assert await anext(stream) == EngineEvent(action=EventAction.CONNECTED)


@pytest.mark.engine
async def test_a_containers_life_is_told_with_its_exit_code(
    engine: Engine, own: ContainerSpec, mine: Mapping[str, str]
) -> None:
    async with aclosing(engine.events(labels=mine)) as stream:
        await anext(stream)
        container_id = await ended(engine, own)
        await engine.remove_container(container_id)
        events = await upto(stream, EventAction.DESTROY)

    assert [(event.action, event.exit_code) for event in events] == [
        (EventAction.CREATE, None),
        (EventAction.START, None),
        (EventAction.DIE, 7),
        (EventAction.DESTROY, None),
    ]


@pytest.mark.engine
async def test_an_event_names_its_container_and_its_labels(
    engine: Engine, own: ContainerSpec, mine: Mapping[str, str]
) -> None:
    async with aclosing(engine.events(labels=mine)) as stream:
        await anext(stream)
        container_id = await engine.create_container(own)
        event = await anext(stream)

    assert (event.container_id, event.container_name) == (container_id, own.name)
    assert event.labels.items() >= own.labels.items()


@pytest.mark.engine
async def test_other_containers_are_not_told(engine: Engine, own: ContainerSpec, mine: Mapping[str, str]) -> None:
    async with aclosing(engine.events(labels=mine)) as stream:
        await anext(stream)
        await engine.create_container(replace(own, name=f"{own.name}-other", labels={**own.labels, "test": "other"}))
        container_id = await engine.create_container(own)

        assert (await anext(stream)).container_id == container_id


@pytest.mark.engine
async def test_earlier_events_are_told_from_a_moment_on(
    engine: Engine, own: ContainerSpec, mine: Mapping[str, str]
) -> None:
    async with aclosing(engine.events(labels=mine)) as stream:
        await anext(stream)
        await ended(engine, own)
        created = (await anext(stream)).at

    async with aclosing(engine.events(created - 0.001, labels=mine)) as stream:
        events = await upto(stream, EventAction.DIE)

    assert [event.action for event in events] == ["connected", "create", "start", "die"]


@pytest.mark.engine
async def test_what_happened_while_the_connection_was_gone_is_told_once(
    proxy: EngineProxy, proxied: Engine, engine: Engine, own: ContainerSpec, mine: Mapping[str, str]
) -> None:
    async with aclosing(proxied.events(labels=mine)) as stream:
        await anext(stream)
        container_id = await engine.create_container(own)
        await upto(stream, EventAction.CREATE)
        await proxy.down()
        await engine.start(container_id)
        await engine.remove_container(container_id)
        await proxy.up()
        events = await upto(stream, EventAction.DESTROY)

    assert [event.action for event in events] == ["connected", "start", "die", "destroy"]


@pytest.mark.engine
async def test_an_engine_that_is_away_at_first_is_waited_for(
    proxy: EngineProxy, proxied: Engine, mine: Mapping[str, str]
) -> None:
    await proxy.down()
    async with aclosing(proxied.events(labels=mine)) as stream:
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        await proxy.up()

        assert (await first).action is EventAction.CONNECTED


@pytest.mark.engine
async def test_an_engine_that_answers_with_an_error_is_waited_for(
    proxy: EngineProxy, proxied: Engine, mine: Mapping[str, str]
) -> None:
    proxy.faults.answer("GET", "/events", status=500, times=2)

    async with aclosing(proxied.events(labels=mine)) as stream:
        assert (await anext(stream)).action is EventAction.CONNECTED


@pytest.mark.engine
async def test_an_engine_that_is_away_is_complained_of_once(
    proxy: EngineProxy, proxied: Engine, mine: Mapping[str, str]
) -> None:
    proxy.faults.answer("GET", "/events", status=500, times=3)
    with capture_logs() as logs:
        async with aclosing(proxied.events(labels=mine)) as stream:
            await anext(stream)

    assert [line["event"] for line in logs] == ["engine events interrupted"]
