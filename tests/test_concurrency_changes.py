"""Whoever listens for changes of something is woken by each, and misses none."""

import asyncio

import pytest

from workspace_server.concurrency import Changes


@pytest.fixture
def changes() -> Changes[str]:
    return Changes()


async def test_a_change_wakes_everybody_who_listens_for_it(changes: Changes[str]) -> None:
    with changes.listen("a") as one, changes.listen("a") as other:
        changes.note("a")
        async with asyncio.timeout(10):
            await asyncio.gather(one.wait(), other.wait())


def test_a_change_of_something_else_wakes_nobody(changes: Changes[str]) -> None:
    with changes.listen("a") as bell:
        changes.note("b")
        assert not bell.is_set()


def test_a_change_before_one_listened_is_not_told(changes: Changes[str]) -> None:
    changes.note("a")
    with changes.listen("a") as bell:
        assert not bell.is_set()


async def test_a_change_between_the_look_and_the_wait_is_not_missed(changes: Changes[str]) -> None:
    with changes.listen("a") as bell:
        bell.clear()
        changes.note("a")
        async with asyncio.timeout(10):
            await bell.wait()


def test_nothing_is_left_of_listeners_that_are_gone(changes: Changes[str]) -> None:
    with changes.listen("a"), changes.listen("a"), changes.listen("b"):
        pass
    assert changes._bells == {}


def test_one_listener_that_leaves_takes_no_other_along(changes: Changes[str]) -> None:
    with changes.listen("a") as stays:
        with changes.listen("a"):
            pass
        changes.note("a")
        assert stays.is_set()
