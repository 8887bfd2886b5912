"""Which status may follow which."""

import pytest

from workspace_server.model.workspace import TRANSITIONS, WorkspaceStatus, may_become

Status = WorkspaceStatus


def reachable_from(start: WorkspaceStatus) -> set[WorkspaceStatus]:
    found, to_visit = {start}, [start]
    while to_visit:
        fresh = TRANSITIONS[to_visit.pop()] - found
        found |= fresh
        to_visit += fresh
    return found


def test_the_words_of_the_statuses_are_the_clients() -> None:
    words = "provisioning online degraded offline failed paused hibernating hibernated awaiting_agent removed"

    assert [status.value for status in Status] == words.split()


def test_every_status_says_what_may_follow_it() -> None:
    assert TRANSITIONS.keys() == set(Status)


def test_nothing_follows_removed() -> None:
    assert TRANSITIONS[Status.REMOVED] == frozenset()


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.REMOVED])
def test_whatever_is_there_may_be_removed(status: WorkspaceStatus) -> None:
    assert Status.REMOVED in TRANSITIONS[status]


@pytest.mark.parametrize("status", Status)
def test_no_status_follows_itself(status: WorkspaceStatus) -> None:
    assert status not in TRANSITIONS[status]


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_reached_by_a_new_workspace(status: WorkspaceStatus) -> None:
    assert status in reachable_from(Status.PROVISIONING)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.REMOVED])
def test_from_everywhere_but_removed_a_workspace_can_get_online(status: WorkspaceStatus) -> None:
    assert Status.ONLINE in reachable_from(status)


@pytest.mark.parametrize("target", Status)
def test_what_a_status_may_follow_is_the_table_read_backwards(target: WorkspaceStatus) -> None:
    assert may_become(target) == {source for source in Status if target in TRANSITIONS[source]}
