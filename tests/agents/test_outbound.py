"""Where this server may be sent to: the addresses that are checked are the ones that are connected to."""

import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import httpx
import pytest
from aiohttp import web

from workspace_server.agents.outbound import Outbound, open_outside_client
from workspace_server.errors import InvalidRequestError, UnavailableError
from workspace_server.settings import load_settings

STRICT = Outbound(loopback=False, private=False)
DEVELOPMENT = Outbound(loopback=True, private=True)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "224.0.0.1"),
        *("255.255.255.255", "::", "fe80::1", "ff02::1", "fc00::1", "::ffff:169.254.169.254"),
    ],
)
def test_some_addresses_are_never_allowed(address: str) -> None:
    assert not DEVELOPMENT.allows(ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_allowed_where_the_policy_says_so(address: str) -> None:
    assert DEVELOPMENT.allows(ip_address(address))
    assert not Outbound(loopback=False, private=True).allows(ip_address(address))


@pytest.mark.parametrize("address", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "::ffff:10.0.0.1"])
def test_private_networks_are_allowed_where_the_policy_says_so(address: str) -> None:
    assert DEVELOPMENT.allows(ip_address(address))
    assert not STRICT.allows(ip_address(address))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Outbound(loopback=True, private=True)),
        ({"MOLECULE_DEPLOY_MODE": "self-hosted"}, Outbound(loopback=True, private=True)),
        ({"MOLECULE_ENV": "staging"}, STRICT),
        ({"MOLECULE_ENV": "staging", "MOLECULE_DEPLOY_MODE": "saas"}, Outbound(loopback=False, private=True)),
        ({"MOLECULE_DEPLOY_MODE": "saas"}, Outbound(loopback=False, private=True)),
        ({"MOLECULE_ENV": "staging", "MOLECULE_ORG_ID": "org-1"}, Outbound(loopback=False, private=True)),
        ({"MOLECULE_ENV": "staging", "MOLECULE_ORG_ID": "org-1", "MOLECULE_DEPLOY_MODE": "self-hosted"}, STRICT),
    ],
    ids=str,
)
def test_private_networks_are_for_developers_and_the_hosted_product_loopback_for_developers_alone(
    environ: dict[str, str], expected: Outbound
) -> None:
    hosted = {"ADMIN_TOKEN": "t", "PLATFORM_URL": "https://acme.example.org"}
    assert Outbound.from_settings(load_settings({"HOME": "/home/u", **hosted, **environ})) == expected


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert STRICT.allows(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "agent.example",
            "ftp://agent.example/",
            "file:///etc/passwd",
            "https://",
            "http://user:pw@agent.example/",
        ),
        *("https://agent.example/#part", "http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::]/"),
        "https://agent.example/" + "x" * 2048,
    ],
)
def test_a_url_that_can_never_be_allowed_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="the agent's URL is refused") as caught:
        DEVELOPMENT.check(url)
    assert caught.value.code == "agent_url_refused"


def test_a_url_that_may_be_kept_comes_back_as_it_is() -> None:
    assert STRICT.check("https://agent.example:8443/a2a?x=1") == "https://agent.example:8443/a2a?x=1"


class Names:
    """Answers name look-ups, each with the next of some addresses."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def getaddrinfo(self, _host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.answers.pop(0), port))]


@pytest.fixture
async def agent() -> AsyncIterator[tuple[int, list[str]]]:
    """An agent on this machine: its port, and the hosts that it was asked for."""
    hosts: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        hosts.append(request.headers["Host"])
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})
        return web.Response(text="here")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], hosts
    await runner.cleanup()


def trust() -> ssl.SSLContext:
    return ssl.create_default_context()


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    agent: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, hosts = agent
    names = Names("127.0.0.1", "169.254.169.254")  # a second look-up would lead elsewhere
    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", lambda _loop, *a, **k: names.getaddrinfo(*a, **k))
    async with open_outside_client(DEVELOPMENT, trust) as client:
        response = await client.post(f"http://agent.example:{port}/", content=b"{}")
    assert (response.text, hosts, names.answers) == ("here", [f"agent.example:{port}"], ["169.254.169.254"])


async def test_a_name_that_leads_where_no_agent_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names("169.254.169.254")
    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", lambda _loop, *a, **k: names.getaddrinfo(*a, **k))
    async with open_outside_client(DEVELOPMENT, trust) as client:
        with pytest.raises(InvalidRequestError, match="its name leads to addresses"):
            await client.get("http://agent.example/")


async def test_a_name_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror

    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", unknown)
    async with open_outside_client(DEVELOPMENT, trust) as client:
        with pytest.raises(UnavailableError, match="leads to no address"):
            await client.get("http://agent.example/")


async def test_a_redirect_is_not_followed(agent: tuple[int, list[str]]) -> None:
    async with open_outside_client(DEVELOPMENT, trust) as client:
        response = await client.get(f"http://127.0.0.1:{agent[0]}/away")
    assert response.status_code == httpx.codes.FOUND
