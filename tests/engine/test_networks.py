"""The workspace network on a real engine, whose names are not unique."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from support.engine import engine as raw_engine
from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine, EngineAddress
from workspace_server.engine.networks import Networks

from .conftest import create_network


async def ids(address: EngineAddress, name: str) -> list[str]:
    async with raw_engine(address.url) as api:
        return [each["Id"] for each in await api.get("/networks") if each["Name"] == name]


@pytest.mark.engine
async def test_a_network_that_is_missing_is_made(engine: Engine, address: EngineAddress, network: str) -> None:
    made = await engine.ensure_network(network)

    assert await ids(address, network) == [made.id]


@pytest.mark.engine
async def test_a_network_that_exists_is_used(engine: Engine, address: EngineAddress, network: str) -> None:
    existing = await create_network(address.url, network)

    assert (await engine.ensure_network(network)).id == existing


@pytest.mark.engine
async def test_the_network_belongs_to_nobody(engine: Engine, address: EngineAddress, network: str) -> None:
    made = await engine.ensure_network(network)

    async with raw_engine(address.url) as api:
        assert (await api.get(f"/networks/{made.id}"))["Labels"] == {}


@pytest.mark.engine
async def test_a_network_of_a_longer_name_is_another_one(engine: Engine, address: EngineAddress, network: str) -> None:
    longer = await engine.ensure_network(f"{network}-longer")
    try:
        assert (await engine.ensure_network(network)).id != longer.id
    finally:
        async with raw_engine(address.url) as api:
            await api.call("DELETE", f"/networks/{longer.id}")


@pytest.mark.engine
async def test_no_network_is_none(engine: Engine, network: str) -> None:
    assert await engine.network(network) is None


@pytest.mark.engine
async def test_asking_at_once_makes_one_network(engine: Engine, address: EngineAddress, network: str) -> None:
    made = await asyncio.gather(*(engine.ensure_network(network) for _ in range(6)))

    assert {each.id for each in made} == set(await ids(address, network))


@pytest.mark.engine
async def test_asking_at_once_asks_the_engine_for_one_network(
    proxy: EngineProxy, proxied: Engine, network: str
) -> None:
    await asyncio.gather(*(proxied.ensure_network(network) for _ in range(6)))

    assert proxy.count("POST", "/networks/create") == 1


@pytest.mark.engine
async def test_somebody_elses_network_of_the_same_moment_is_used(
    proxy: EngineProxy, proxied: Engine, address: EngineAddress, network: str
) -> None:
    creating = proxy.faults.hold("POST", "/networks/create")
    asked = asyncio.create_task(proxied.ensure_network(network))
    await creating.arrived.wait()
    theirs = await create_network(address.url, network)

    creating.release()

    assert (await asked).id == theirs


class TwoAtOnce:
    """An engine on which another process creates the same network in the same moment; it may be ours or older."""

    def __init__(self, *, ours_is_older: bool) -> None:
        self.networks: list[dict[str, Any]] = []
        self._ours_is_older = ours_is_older

    async def call(self, method: str, path: str, **_: Any) -> Any:
        if method == "POST":
            self.networks = [self._network("theirs", 5), self._network("ours", 4 if self._ours_is_older else 6)]
            return {"Id": "ours"}
        if method == "DELETE":
            self.networks = [each for each in self.networks if path != f"networks/{each['Id']}"]
            return ""
        return self.networks

    def _network(self, name: str, second: int) -> dict[str, Any]:
        ranges: list[Mapping[str, str]] = []
        return {"Id": name, "Name": "n", "Created": f"2026-01-01T00:00:0{second}Z", "IPAM": {"Config": ranges}}


@pytest.mark.parametrize(("ours_is_older", "left"), [(True, {"theirs", "ours"}), (False, {"theirs"})])
async def test_of_two_networks_ours_is_removed_only_if_it_is_the_younger(
    *, ours_is_older: bool, left: set[str]
) -> None:
    engine = TwoAtOnce(ours_is_older=ours_is_older)

    await Networks(engine).ensure_network("n")  # type: ignore[arg-type]

    assert {each["Id"] for each in engine.networks} == left


@pytest.mark.parametrize(("ours_is_older", "used"), [(True, "ours"), (False, "theirs")])
async def test_of_two_networks_the_older_one_is_used(*, ours_is_older: bool, used: str) -> None:
    engine = TwoAtOnce(ours_is_older=ours_is_older)

    assert (await Networks(engine).ensure_network("n")).id == used  # type: ignore[arg-type]
