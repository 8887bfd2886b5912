"""How a build stands, and what of containers is never shown."""

import pytest

from workspace_server.model.build import BuildState
from workspace_server.model.container import ContainerFile, ContainerSpec, Limits


@pytest.mark.parametrize("state", BuildState)
def test_a_build_has_ended_unless_it_waits_or_runs(state: BuildState) -> None:
    assert state.ended == (state.value not in ("queued", "running"))


def test_the_content_of_a_containers_file_is_not_shown() -> None:
    assert "hush" not in repr(ContainerFile(path="/configs/.auth_token", content=b"hush"))


def test_the_environment_of_a_container_is_not_shown() -> None:
    spec = ContainerSpec(
        name="ws-1",
        image_id="sha256:1",
        labels={},
        mounts=[],
        network="n",
        host_gateway="192.0.2.1",
        limits=Limits(),
        tier=1,
        restart_policy="no",
        environment={"API_KEY": "hush"},
    )

    assert "hush" not in repr(spec)
