"""When a workspace that died is started again by itself."""

from datetime import UTC, datetime, timedelta

import pytest

from workspace_server.workspaces.restarts import LIMIT, due_at, recent

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def moments(*ages: float) -> list[str]:
    return [(NOW - timedelta(seconds=age)).isoformat() for age in ages]


def test_the_first_time_it_is_at_once() -> None:
    assert due_at([], NOW, NOW) == NOW


@pytest.mark.parametrize(("count", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 16)])
def test_every_further_time_it_waits_twice_as_long(count: int, seconds: int) -> None:
    assert due_at(moments(*range(60, 60 + count)), NOW, NOW) == NOW + timedelta(seconds=seconds)


def test_after_five_times_in_ten_minutes_it_is_never() -> None:
    assert due_at(moments(*range(60, 60 + LIMIT)), NOW, NOW) is None


def test_what_is_longer_ago_than_ten_minutes_does_not_count() -> None:
    assert due_at(moments(601, 602, 603, 604, 605), NOW, NOW) == NOW


def test_only_the_recent_ones_are_kept() -> None:
    assert recent(moments(900, 599, 1), NOW) == moments(599, 1)


def test_a_clock_that_was_set_back_makes_it_wait_no_longer() -> None:
    assert due_at([], NOW + timedelta(days=1), NOW) == NOW
