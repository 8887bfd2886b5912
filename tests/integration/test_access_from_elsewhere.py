"""Every route, called over real networks: from this machine, from a container, from another host of the LAN."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from api.test_access import ROUTES
from support.engine import Engine
from support.engine import engine as raw_engine
from support.networks import NETWORK, container_prints, gateway, neighbour, output
from support.server import ServerProcess, server_process

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace"),
]

ADMIN_TOKEN = "administrator-" + "x" * 32
WORKSPACE = str(uuid4())

# Sends to every route, as if to this machine, and prints the statuses; null where nobody answers.
CALLS = """
import json, sys, urllib.error, urllib.request
base, token, routes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
def status(method, path, body):
    headers = {"Content-Type": "application/json", "Host": "localhost"}
    headers |= {"Authorization": "Bearer " + token} if token else {}
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(base + path, data, headers, method=method)
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
print(json.dumps({name: status(*call) for name, call in routes.items()}))
"""


def calls(*, of: str = "") -> dict[str, tuple[str, str, Any]]:
    """The calls of all routes, of one method or of all."""
    found = {}
    values = {"workspace_id": WORKSPACE, "build": "01J0", "key": "A"}
    for route, access in ROUTES.items():
        method, path = route.partition(" of ")[0].split(" ")
        if method.startswith(of):
            body = {key: _filled(value, values) for key, value in access.body.items()} or None
            found[route] = (method, path.format(**values) + access.query, body)
    return found


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    return value.format(**values) if isinstance(value, str) else value


def is_open(route: str) -> bool:
    return ROUTES[route].rule["anyone"] != 401


def refused(statuses: Mapping[str, int | None]) -> set[str]:
    return {route for route, status in statuses.items() if status in (401, 403)}


PROTECTED = {route for route in ROUTES if not is_open(route)}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(engine_url: str) -> AsyncIterator[Engine]:
    async with raw_engine(engine_url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plain(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server without an administrator."""
    async with server_process(tmp_path_factory.mktemp("plain"), engine_url) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def administered(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server with an administrator: it listens everywhere."""
    directory = tmp_path_factory.mktemp("administered")
    async with server_process(directory, engine_url, ADMIN_TOKEN=ADMIN_TOKEN) as server:
        yield server


async def from_here(base: str, *, token: str = "", routes: Mapping[str, Any]) -> dict[str, int | None]:
    return dict(json.loads(await output(sys.executable, "-c", CALLS, base, token, json.dumps(routes))))


async def from_the_lan(towards: str, port: int, *, token: str = "") -> dict[str, int | None]:
    async with neighbour(towards) as name:
        command = [sys.executable, "-c", CALLS, f"http://{towards}:{port}", token, json.dumps(calls(of="GET"))]
        if not token:
            command[-1] = json.dumps(calls())
        return dict(json.loads(await output("ip", "netns", "exec", name, *command)))


async def from_a_container(api: Engine, server: ServerProcess) -> dict[str, int | None]:
    base = f"http://{await gateway(api)}:{server.port}"
    return dict(await container_prints(api, NETWORK, server.label, CALLS, base, "", json.dumps(calls())))


async def test_without_an_administrator_this_machine_is_the_owner(plain: ServerProcess) -> None:
    statuses = await from_here(plain.url, routes=calls(of="GET"))
    own_only = {route for route in statuses if ROUTES[route].rule["person"] != 200}
    assert refused(statuses) == own_only


async def test_without_an_administrator_a_container_is_nobody(api: Engine, plain: ServerProcess) -> None:
    statuses = await from_a_container(api, plain)
    assert refused(statuses) == PROTECTED
    assert None not in statuses.values()


async def test_without_an_administrator_the_lan_reaches_nothing(api: Engine, plain: ServerProcess) -> None:
    assert set((await from_the_lan(await gateway(api), plain.port)).values()) == {None}


async def test_with_an_administrator_nobody_is_let_in_for_being_here(administered: ServerProcess) -> None:
    assert refused(await from_here(administered.url, routes=calls())) == PROTECTED


async def test_with_an_administrator_a_container_is_nobody(api: Engine, administered: ServerProcess) -> None:
    assert refused(await from_a_container(api, administered)) == PROTECTED


async def test_with_an_administrator_the_lan_is_nobody(api: Engine, administered: ServerProcess) -> None:
    statuses = await from_the_lan(await gateway(api), administered.port)
    assert refused(statuses) == PROTECTED
    assert None not in statuses.values()


async def test_the_administrators_token_works_from_the_lan(api: Engine, administered: ServerProcess) -> None:
    statuses = await from_the_lan(await gateway(api), administered.port, token=ADMIN_TOKEN)
    own_only = {route for route in statuses if ROUTES[route].rule["person"] != 200}
    assert refused(statuses) == own_only
