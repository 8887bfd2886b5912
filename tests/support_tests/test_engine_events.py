import asyncio

import aiohttp
import pytest

from support.engine import Engine
from support.engine_events import EngineEvents, engine_events
from support.engine_proxy import engine_proxy

from .engine_objects import make_volume

pytestmark = pytest.mark.engine


def named(events: EngineEvents, name: str) -> list[tuple[str, str]]:
    return [(event.type, event.action) for event in events if event.id == name]


async def test_after_settling_everything_since_the_entry_is_there(api: Engine, engine_url: str, label: str) -> None:
    name = label[-32:]
    async with engine_events(engine_url) as events:
        for _ in range(20):
            await make_volume(api, name, label)
            await api.call("DELETE", f"/volumes/{name}")
            assert named(await events.settle(), name)[-1] == ("volume", "destroy")
    assert named(events, name) == [("volume", "create"), ("volume", "destroy")] * 20


async def test_settling_brings_what_the_live_stream_has_not_brought_yet(api: Engine, label: str) -> None:
    name = label[-32:]
    events = EngineEvents(api, await api.now())  # without a live stream
    await make_volume(api, name, label)
    assert named(await events.settle(), name) == [("volume", "create")]
    await api.call("DELETE", f"/volumes/{name}")
    assert named(await events.settle(), name) == [("volume", "create"), ("volume", "destroy")]


async def test_what_was_before_the_entry_is_not_there(api: Engine, engine_url: str, label: str) -> None:
    name = label[-32:]
    await make_volume(api, name, label)
    async with engine_events(engine_url) as events:
        await api.call("DELETE", f"/volumes/{name}")
        assert named(await events.settle(), name) == [("volume", "destroy")]


async def test_more_events_than_the_engine_remembers_are_kept(api: Engine, engine_url: str, label: str) -> None:
    name = label[-32:]
    async with engine_events(engine_url) as events:
        for _ in range(200):
            await make_volume(api, name, label)
            await api.call("DELETE", f"/volumes/{name}")
        await events.settle()
    assert len(named(events, name)) == 400


async def test_an_event_can_be_waited_for(api: Engine, engine_url: str, label: str) -> None:
    async with engine_events(engine_url) as events:
        waiting = asyncio.create_task(events.wait_for("volume", "destroy", driver="local"))
        name = label[-32:]
        await make_volume(api, name, label)
        await api.call("DELETE", f"/volumes/{name}")
        assert (await waiting).attributes["driver"] == "local"
        assert events.of("volume", "destroy", driver="none") == []


async def test_a_stream_that_breaks_is_no_silence(engine_url: str) -> None:
    async def provoke() -> None:
        async with engine_proxy(engine_url) as proxy, engine_events(proxy.address) as events:
            await proxy.down()
            await events.ended.wait()

    with pytest.raises((AssertionError, aiohttp.ClientPayloadError)):
        await provoke()


async def test_waiting_on_a_broken_stream_fails(engine_url: str) -> None:
    async def provoke() -> None:
        async with engine_proxy(engine_url) as proxy, engine_events(proxy.address) as events:
            waiting = asyncio.create_task(events.wait_for("volume", "no such action"))
            await proxy.down()
            await waiting

    with pytest.raises(AssertionError, match="ended before the test did"):
        await provoke()
