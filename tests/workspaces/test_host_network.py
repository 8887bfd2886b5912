"""Tier 4: where its agent listens, and when it cannot be had."""

import socket
from typing import Any

import pytest

from workspace_server.errors import ConflictError
from workspace_server.workspaces.host_network import check_free, host_port


@pytest.mark.parametrize(
    ("config", "port"),
    [
        ({}, 8000),
        ({"a2a": None}, 8000),
        ({"a2a": {"port": 9001}}, 9001),
        ({"a2a": {"port": "9001"}}, 8000),
        ({"a2a": {"port": 0}}, 8000),
        ({"a2a": {"port": 70000}}, 8000),
    ],
)
def test_the_agent_listens_where_its_configuration_says(config: dict[str, Any], port: int) -> None:
    assert host_port(4, config, "172.19.0.1") == port


@pytest.mark.parametrize("tier", [1, 2, 3, 0])
def test_other_tiers_have_no_port_of_the_machine(tier: int) -> None:
    assert host_port(tier, {"a2a": {"port": 9001}}, "host-gateway") is None


def test_where_the_engines_machine_is_another_one_it_is_refused_with_the_reason() -> None:
    with pytest.raises(ConflictError, match="tier 4 needs an engine on this very machine") as caught:
        host_port(4, {}, "host-gateway")

    assert caught.value.code == "tier_unavailable"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_at_is_taken(address: str) -> None:
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} of this machine is taken"):
            check_free(port)
    check_free(port)
