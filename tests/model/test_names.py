"""What clients and operators find on the engine, and by which label."""

import pytest

from workspace_server.model import names

SHORT, LONG = "short", "longer-than-twelve-characters"
UUID = "0123abcd-4567-89ab-cdef-0123456789ab"


@pytest.mark.parametrize(
    ("workspace_id", "expected"),
    [(SHORT, "ws-short"), (LONG, "ws-longer-than-"), (UUID, "ws-0123abcd-456"), ("", "ws-")],
)
def test_a_container_is_named_by_the_first_twelve_characters(workspace_id: str, expected: str) -> None:
    assert names.container_name(workspace_id) == expected


@pytest.mark.parametrize(("workspace_id", "expected"), [(SHORT, "ws-short-configs"), (LONG, "ws-longer-than--configs")])
def test_the_volume_of_configs_is_named_after_the_container(workspace_id: str, expected: str) -> None:
    assert names.config_volume(workspace_id) == expected


def test_the_volume_of_sessions_is_named_after_the_container() -> None:
    assert names.session_volume(LONG) == "ws-longer-than--claude-sessions"


def test_the_volume_of_the_workspace_carries_the_full_id() -> None:
    assert names.workspace_volume(LONG) == "ws-longer-than-twelve-characters-workspace"


def test_the_network_and_the_port_are_those_of_existing_deployments() -> None:
    assert (names.NETWORK, names.AGENT_PORT) == ("molecule-monorepo-net", 8000)


def test_what_an_installation_makes_says_whose_it_is() -> None:
    assert names.installation_labels("i") == {"molecule.platform.managed": "true", "molecule.platform.instance": "i"}


def test_what_belongs_to_a_workspace_says_its_full_id_as_well() -> None:
    assert names.workspace_labels("i", LONG) == {
        "molecule.platform.managed": "true",
        "molecule.platform.instance": "i",
        "molecule.workspace.id": LONG,
    }
