"""The workspace network as this machine sees it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from workspace_server.model.container import NetworkInfo
from workspace_server.workspaces.bridge import Bridge

from .making import NETWORK


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's network devices; the network's bridge is one of them."""
    monkeypatch.setattr("workspace_server.workspaces.bridge._DEVICES", tmp_path)
    (tmp_path / NETWORK.device).touch()
    return tmp_path


@pytest.fixture
def elsewhere(devices: Path) -> None:
    """The bridge is on another machine, or in a virtual one."""
    (devices / NETWORK.device).unlink()


class Follower:
    """Hears of networks; ``gate`` keeps it from answering until it is set."""

    def __init__(self) -> None:
        self.heard: list[NetworkInfo] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, network: NetworkInfo) -> None:
        self.heard.append(network)
        self.begun.set()
        await self.gate.wait()


pytestmark = pytest.mark.usefixtures("devices")


async def test_a_follower_hears_of_the_network_that_is_there() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.announce(NETWORK)
    await bridge.follow(follower)

    assert follower.heard == [NETWORK]


async def test_a_follower_hears_of_a_network_that_comes_later() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)
    await bridge.announce(NETWORK)

    assert follower.heard == [NETWORK]


async def test_the_same_network_is_told_once() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)
    for _ in range(3):
        await bridge.announce(NETWORK)

    assert follower.heard == [NETWORK]


async def test_a_network_that_took_the_others_place_is_told() -> None:
    bridge, follower = Bridge(), Follower()
    other = replace(NETWORK, id="f" * 64)
    await bridge.follow(follower)
    for network in (NETWORK, other):
        await bridge.announce(network)

    assert (follower.heard, bridge.network) == ([NETWORK, other], other)


async def test_containers_on_a_bridge_that_is_here_reach_us_through_its_gateway() -> None:
    assert await Bridge().announce(NETWORK) == "172.23.0.1"


@pytest.mark.usefixtures("elsewhere")
async def test_containers_on_a_bridge_elsewhere_reach_us_in_the_engines_own_way() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)

    assert await bridge.announce(NETWORK) == "host-gateway"
    assert (follower.heard, bridge.is_here) == ([], False)


async def test_an_announcement_ends_when_the_follower_is_ready() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)
    follower.gate.clear()
    announcements = [asyncio.create_task(bridge.announce(NETWORK)) for _ in range(2)]
    await follower.begun.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    early = [announcement.done() for announcement in announcements]
    follower.gate.set()
    await asyncio.gather(*announcements)

    assert (early, follower.heard) == ([False, False], [NETWORK])


async def test_an_announcement_that_was_cut_off_is_made_again() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)
    follower.gate.clear()
    cut_off = asyncio.create_task(bridge.announce(NETWORK))
    await follower.begun.wait()
    cut_off.cancel()
    await asyncio.wait([cut_off])
    follower.gate.set()
    await bridge.announce(NETWORK)

    assert follower.heard == [NETWORK, NETWORK]


async def test_without_a_network_there_is_nothing_to_tell() -> None:
    bridge, follower = Bridge(), Follower()
    await bridge.follow(follower)

    assert (follower.heard, bridge.is_here) == ([], False)
