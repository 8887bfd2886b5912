"""How far a provisioning is."""

from datetime import UTC, datetime

from workspace_server.model.workspace import Phase
from workspace_server.workspaces.progress import Phases, seconds_since


def states(phases: Phases) -> dict[str, str]:
    return {name: entry["state"] for name, entry in phases.as_json().items()}


def test_nothing_was_entered_yet() -> None:
    assert Phases().as_json() == {}


def test_a_phase_that_was_entered_runs() -> None:
    phases = Phases()
    phases.enter(Phase.IMAGE)

    assert states(phases) == {"image": "running"}


def test_a_phase_ends_when_the_next_one_begins() -> None:
    phases = Phases()
    for phase in (Phase.IMAGE, Phase.ENVIRONMENT, Phase.VOLUMES):
        phases.enter(phase)

    assert states(phases) == {"image": "done", "environment": "done", "volumes": "running"}


def test_the_last_phase_is_finished() -> None:
    phases = Phases()
    phases.enter(Phase.ONLINE)
    phases.finish()

    assert states(phases) == {"online": "done"}


def test_only_the_running_phase_fails() -> None:
    phases = Phases()
    phases.enter(Phase.IMAGE)
    phases.enter(Phase.ENVIRONMENT)
    phases.fail()

    assert states(phases) == {"image": "done", "environment": "failed"}


def test_an_ended_phase_says_how_long_it_took_and_a_running_one_since_when() -> None:
    phases = Phases()
    phases.enter(Phase.IMAGE)
    phases.enter(Phase.ENVIRONMENT)

    ended, running = phases.as_json()["image"], phases.as_json()["environment"]
    assert (set(ended), set(running)) == ({"state", "started_at", "seconds"}, {"state", "started_at"})
    assert datetime.fromisoformat(running["started_at"]) <= datetime.now(UTC)


def test_the_time_of_an_ended_phase_stays() -> None:
    phases = Phases()
    phases.enter(Phase.IMAGE)
    phases.enter(Phase.ENVIRONMENT)
    before = dict(phases.as_json()["image"])
    phases.finish()

    assert phases.as_json()["image"] == before


def test_phases_go_on_where_a_row_left_them() -> None:
    first = Phases()
    first.enter(Phase.IMAGE)
    first.enter(Phase.START)
    later = Phases(first.as_json())
    later.enter(Phase.ONLINE)

    assert states(later) == {"image": "done", "start": "done", "online": "running"}


def test_going_on_changes_nothing_of_what_was_read() -> None:
    first = Phases()
    first.enter(Phase.IMAGE)
    row = first.as_json()
    Phases(row).finish()

    assert row["image"]["state"] == "running"


def test_seconds_are_counted_to_the_millisecond() -> None:
    elapsed = seconds_since("2026-01-01T00:00:00+00:00")

    assert elapsed == round(elapsed, 3) > 0
