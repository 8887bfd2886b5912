import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from support.engine import Engine, EngineError, engine, leftovers
from support.engine_events import engine_events
from support.engine_proxy import EngineProxy, engine_proxy

from .engine_objects import archive, make_image, make_volume, volume

pytestmark = pytest.mark.engine


@pytest.fixture
async def client(proxy: EngineProxy) -> AsyncIterator[Engine]:
    """A client that uses the proxy."""
    async with engine(proxy.address) as connected:
        yield connected


@pytest.fixture
def name(label: str) -> str:
    """A name of this test alone."""
    return label[-32:]


async def test_the_engine_is_the_same_behind_the_proxy(api: Engine, client: Engine) -> None:
    assert (await client.get("/info"))["ID"] == (await api.get("/info"))["ID"]


async def test_calls_are_counted_without_the_apis_version(proxy: EngineProxy, client: Engine) -> None:
    await client.get("/v1.40/containers/json", all="true")
    await client.get("/containers/json")
    with pytest.raises(EngineError):
        await client.get("/containers/none/json")
    assert proxy.count("GET", "/containers/json") == 2
    assert proxy.count(None, r"/containers/[^/]+/json") == 1
    assert proxy.count("POST", ".*") == 0
    assert (proxy.calls[0].path, proxy.calls[0].query) == ("/containers/json", "all=true")


async def test_a_large_body_passes_in_both_directions(client: Engine, label: str) -> None:
    image = await make_image(client, label, {"big": bytes(20_000_000)})
    async with client.stream(f"/images/{image}/get") as stream:
        assert sum([len(piece) async for piece in stream.iter_any()]) > 20_000_000


async def test_a_live_stream_passes_at_once(api: Engine, proxy: EngineProxy, name: str, label: str) -> None:
    async with engine_events(proxy.address) as events:
        await make_volume(api, name, label)
        assert (await events.wait_for("volume", "create")).type == "volume"


async def test_an_engine_that_was_stopped_has_no_socket(proxy: EngineProxy, client: Engine) -> None:
    await client.get("/_ping")
    await proxy.down()
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await client.get("/_ping")
    assert isinstance(caught.value.os_error, FileNotFoundError)
    await proxy.up()
    assert await client.get("/info")


async def test_an_engine_that_was_killed_refuses_connections(proxy: EngineProxy, client: Engine) -> None:
    await proxy.down(leave_socket=True)
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await client.get("/_ping")
    assert isinstance(caught.value.os_error, ConnectionRefusedError)
    await proxy.up()
    assert await client.get("/info")


async def test_going_down_ends_open_streams(proxy: EngineProxy, client: Engine) -> None:
    async with client.stream("/events") as lines:
        await proxy.down()
        with pytest.raises(aiohttp.ClientPayloadError):
            _ = [line async for line in lines]


async def test_a_held_call_does_not_reach_the_engine(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    hold = proxy.faults.hold("POST", "/volumes/create")
    task = asyncio.create_task(make_volume(client, name, label))
    await hold.arrived.wait()
    assert await client.get("/info")
    assert not await api.exists(f"/volumes/{name}")
    hold.release()
    await task
    assert await api.exists(f"/volumes/{name}")


async def test_a_held_answer_comes_after_the_work(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    hold = proxy.faults.hold("POST", "/volumes/create", when="after")
    task = asyncio.create_task(make_volume(client, name, label))
    await hold.arrived.wait()
    assert await api.exists(f"/volumes/{name}")
    assert not task.done()
    proxy.faults.clear()
    await task


async def test_a_client_that_dies_while_held_never_called(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    hold = proxy.faults.hold("POST", "/volumes/create")
    task = asyncio.create_task(make_volume(client, name, label))
    await hold.arrived.wait()
    task.cancel()
    await hold.left.wait()
    assert not await api.exists(f"/volumes/{name}")


async def test_a_call_can_fail_as_the_engine_would(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    proxy.faults.answer("POST", "/volumes/create", message="no space left on device", times=1)
    with pytest.raises(EngineError, match="500: no space left on device"):
        await client.call("POST", "/volumes/create", {**volume(name, label), "DriverOpts": {"x": "y" * 1_000_000}})
    assert not await api.exists(f"/volumes/{name}")
    await make_volume(client, name, label)
    assert await api.exists(f"/volumes/{name}")


async def test_the_latest_fault_wins_until_it_is_removed(proxy: EngineProxy, client: Engine) -> None:
    proxy.faults.answer(None, ".*", status=503)
    latest = proxy.faults.answer("GET", "/info", status=409)
    for status in (409, 503):
        with pytest.raises(EngineError, match=str(status)):
            await client.get("/info")
        proxy.faults.remove(latest) if status == 409 else proxy.faults.clear()
    assert await client.get("/info")


async def test_an_answer_can_be_cut_off(proxy: EngineProxy, client: Engine) -> None:
    proxy.faults.cut_off("GET", "/info", 100, times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.get("/info")
    assert await client.get("/info")


async def test_exactly_the_bytes_asked_for_are_sent(proxy: EngineProxy, client: Engine) -> None:
    whole = json.dumps(await client.get("/info"), separators=(",", ":"))
    proxy.faults.cut_off("GET", "/info", 30)
    reader, writer = await asyncio.open_unix_connection(proxy.address.removeprefix("unix://"))
    writer.write(b"GET /info HTTP/1.0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 200 OK" in head
    assert body.decode() == whole[:30]


async def test_a_live_stream_can_be_cut_off(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    proxy.faults.cut_off("GET", "/events", 5)
    async with client.stream("/events") as lines:
        await make_volume(api, name, label)
        with pytest.raises(aiohttp.ClientPayloadError):
            _ = [line async for line in lines]


async def test_an_answer_can_be_lost_after_the_work(
    api: Engine, proxy: EngineProxy, client: Engine, name: str, label: str
) -> None:
    proxy.faults.cut_off("POST", "/volumes/create", 0)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await make_volume(client, name, label)
    assert await api.exists(f"/volumes/{name}")


async def test_an_engine_that_is_away_ends_the_connection() -> None:
    async with engine_proxy("unix:///no/such/socket") as proxy, engine(proxy.address) as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("/info")


async def test_calls_side_by_side_do_not_mix(proxy: EngineProxy, client: Engine, label: str) -> None:
    prefix = label[-20:]
    await asyncio.gather(*(make_volume(client, f"{prefix}-{n:02d}", label) for n in range(30)))
    assert (await leftovers(proxy.address, label)).volumes == tuple(f"{prefix}-{n:02d}" for n in range(30))


async def test_an_archive_passes(client: Engine, label: str) -> None:
    image = await make_image(client, label)
    key, _, value = label.partition("=")
    created = await client.call("POST", "/containers/create", {"Image": image, "Cmd": ["x"], "Labels": {key: value}})
    path = f"/containers/{created['Id']}/archive"
    await client.call("PUT", path, archive({"put": "content"}), path="/")
    async with client.stream(path, path="/put") as lines:
        assert b"content" in b"".join([line async for line in lines])
