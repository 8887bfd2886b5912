"""The engine's JSON as what was found: the cases a real engine does not show on demand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from workspace_server.engine.decode import container_info, engine_info, image_info, listed_container_info, network_info

NETWORK: dict[str, Any] = {
    "Id": "0123456789abcdef",
    "IPAM": {"Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]},
    "Options": {},
}


def network(**changes: Any) -> dict[str, Any]:
    return NETWORK | changes


def container(state: dict[str, Any], ports: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "Id": "c",
        "Name": "/ws-a",
        "Config": {"Labels": None},
        "Image": "sha256:i",
        "State": state,
        "NetworkSettings": {"Networks": {}, "Ports": ports},
    }


def test_a_bridge_without_a_name_is_called_after_the_network() -> None:
    assert network_info(network()).device == "br-0123456789ab"


def test_a_named_bridge_keeps_its_name() -> None:
    options = {"com.docker.network.bridge.name": "molecule0"}

    assert network_info(network(Options=options)).device == "molecule0"


def test_the_gateway_is_the_ipv4_one() -> None:
    ranges = [
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
        {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.254"},
    ]

    assert network_info(network(IPAM={"Config": ranges})).gateway == "10.9.0.254"


def test_a_gateway_that_is_not_written_down_is_the_first_address() -> None:
    assert network_info(network(IPAM={"Config": [{"Subnet": "10.9.0.0/24"}]})).gateway == "10.9.0.1"


def test_a_gateway_may_be_written_with_its_prefix_length() -> None:
    ranges = [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1/24"}]

    assert network_info(network(IPAM={"Config": ranges})).gateway == "10.9.0.1"


def test_a_network_without_addresses_has_no_gateway() -> None:
    assert network_info(network(IPAM={"Config": None})).gateway == ""


@pytest.mark.parametrize(
    ("state", "running", "exit_code"),
    [
        ({"Status": "created", "Running": False, "ExitCode": 0}, False, None),
        ({"Status": "running", "Running": True, "ExitCode": 0}, True, None),
        ({"Status": "paused", "Running": True, "ExitCode": 0}, True, None),
        ({"Status": "restarting", "Running": True, "ExitCode": 1}, True, None),
        ({"Status": "exited", "Running": False, "ExitCode": 0}, False, 0),
        ({"Status": "dead", "Running": False, "ExitCode": 137}, False, 137),
    ],
)
def test_only_a_container_that_ended_has_an_exit_code(
    state: dict[str, Any], *, running: bool, exit_code: int | None
) -> None:
    info = container_info(container(state))

    assert (info.running, info.exit_code) == (running, exit_code)


def test_the_agents_port_is_the_one_on_this_machines_loopback() -> None:
    ports = {
        "9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}],
        "8000/tcp": [{"HostIp": "192.0.2.7", "HostPort": "2"}, {"HostIp": "127.0.0.1", "HostPort": "3"}],
    }
    state = {"Status": "running", "Running": True, "ExitCode": 0}

    assert container_info(container(state, ports)).agent_port == 3


def test_a_port_that_is_not_published_is_no_agents_port() -> None:
    state = {"Status": "running", "Running": True, "ExitCode": 0}

    assert container_info(container(state, {"8000/tcp": None})).agent_port is None


@pytest.mark.parametrize(("label", "port"), [("9001", 9001), ("", None), ("x", None), ("²", None)])
def test_an_agent_in_its_machines_network_is_at_the_port_that_the_label_says(label: str, port: int | None) -> None:
    labels = {"molecule.workspace.port": label}
    inspected = container({"Status": "running", "Running": True, "ExitCode": 0})
    inspected["Config"] = {"Labels": labels}
    listed = {
        "Id": "i",
        "Names": ["/n"],
        "State": "running",
        "ImageID": "sha256:1",
        "Ports": [],
        "Labels": labels,
        "NetworkSettings": {"Networks": {"host": {"IPAddress": ""}}},
    }
    found = listed_container_info(listed)

    assert found is not None
    assert (container_info(inspected).agent_port, found.agent_port) == (port, port)


def test_a_stopped_containers_exit_code_is_not_guessed_from_the_list() -> None:
    assert listed_container_info({"State": "exited"}) is None


def test_an_image_without_labels_and_tags_has_none() -> None:
    data = {"Id": "sha256:i", "RepoTags": None, "Config": None, "Os": "linux", "Architecture": "arm", "Variant": "v7"}

    info = image_info(data | {"Size": 5})

    assert (info.tags, info.labels, info.platform) == ((), {}, "linux/arm/v7")


@pytest.mark.parametrize(
    ("created", "moment"),
    [
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05.5+02:00", datetime(2026, 1, 2, 1, 4, 5, 500000, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_an_image_is_as_old_as_the_engine_says(created: str | None, moment: datetime | None) -> None:
    data = {"Id": "sha256:i", "Os": "linux", "Architecture": "amd64", "Size": 5}

    assert image_info(data | ({} if created is None else {"Created": created})).created_at == moment


@pytest.mark.parametrize(
    ("kernel", "platform"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"), ("s390x", "linux/s390x")],
)
def test_the_engines_platform_is_named_as_images_name_theirs(kernel: str, platform: str) -> None:
    data = {"ID": "e", "ServerVersion": "1", "OSType": "linux", "Architecture": kernel, "OperatingSystem": "x"}

    assert engine_info(data).platform == platform
