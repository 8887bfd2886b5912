"""Tries that come to no end are made ever more rarely."""

import asyncio

import pytest

from workspace_server.workspaces import reconcile
from workspace_server.workspaces.reconcile import Pauses

from .world import World


class Clock:
    """The event loop's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def waited(pauses: Pauses, clock: Clock) -> float:
    """Seconds until the next try may begin."""
    began = clock.now
    while not pauses.over("w", 1):
        clock.now += 0.5
    return clock.now - began


async def test_the_first_try_waits_for_nothing(clock: Clock) -> None:
    assert Pauses(300.0).over("w", 1)


async def test_every_pause_is_twice_as_long_as_the_one_before_up_to_a_limit(clock: Clock) -> None:
    pauses, seconds = Pauses(300.0), []
    for _ in range(10):
        pauses.lengthen("w", 1)
        seconds.append(waited(pauses, clock))

    assert seconds == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_an_end_lets_the_next_one_begin_from_the_start(clock: Clock) -> None:
    pauses = Pauses(300.0)
    for _ in range(5):
        pauses.lengthen("w", 1)
    pauses.end("w")
    pauses.lengthen("w", 1)

    assert waited(pauses, clock) == 2


async def test_one_workspaces_pause_is_not_anothers(clock: Clock) -> None:
    pauses = Pauses(300.0)
    pauses.lengthen("w", 1)

    assert (pauses.over("w", 1), pauses.over("other", 1)) == (False, True)


async def test_a_workspace_that_is_wanted_once_more_waits_for_nothing(clock: Clock) -> None:
    pauses = Pauses(300.0)
    pauses.lengthen("w", 1)

    assert (pauses.over("w", 1), pauses.over("w", 2)) == (False, True)


async def test_nothing_is_kept_of_a_workspace_that_has_ended_its_tries(clock: Clock) -> None:
    pauses = Pauses(300.0)
    pauses.lengthen("w", 1)
    pauses.end("w")

    assert (pauses._seconds, pauses._until) == ({}, {})


@pytest.mark.engine
async def test_a_builder_that_always_loses_its_engine_does_not_build_in_every_round(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.proxy.faults.cut_off("POST", "/build", 0)
    monkeypatch.setattr(reconcile, "_FIRST_PAUSE", 3600.0)
    before = {record.id for record in here.book.newest()}
    await here.create("unlucky")
    for _ in range(3):
        await here.fulfil()

    assert len({record.id for record in here.book.newest()} - before) == 1


@pytest.mark.engine
async def test_nothing_is_kept_of_workspaces_that_are_online_failed_or_removed(here: World) -> None:
    await here.online()
    await here.create("broken")
    await here.fulfil()
    removed = await here.create()
    await here.begin()
    await here.service.remove(removed, confirmed=True, purge=True)
    await here.reconciler.fulfil()
    here.proxy.faults.clear()
    await here.settle()

    assert (here.reconciler._pauses._seconds, here.reconciler._pauses._until) == ({}, {})
