"""The engine as tests see it: asked directly, never through the product's own code."""

import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

import aiohttp
import pytest

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
INSTANCE_LABEL = "molecule.platform.instance"

Json = Any

_TAR = {"Content-Type": "application/x-tar"}


class EngineError(AssertionError):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def engine_address() -> str:
    """Return the address of the engine to test on: ``DOCKER_HOST``, or the default socket.

    Fails the test when there is none: ``MOLECULE_TEST_ENGINE_PROBLEM`` then has the reason.
    """
    if problem := os.environ.get("MOLECULE_TEST_ENGINE_PROBLEM"):
        pytest.fail(problem, pytrace=False)
    return os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS


def instance_label(instance: str) -> str:
    """Return the label that every object of one installation carries."""
    return f"{INSTANCE_LABEL}={instance}"


class Engine:
    """A few calls to one engine's API. Errors are EngineError, or aiohttp's when it cannot be reached."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, /, **query: str) -> Json:
        """GET and return the JSON body."""
        return await self.call("GET", path, **query)

    async def call(self, method: str, path: str, body: Json | bytes = None, /, **query: str) -> Json:
        """Send a request and return the JSON body: a list of a stream's messages, None when there is no body.

        Bytes are sent as a tar archive. Errors inside a stream are raised too.
        """
        content = {"data": io.BytesIO(body), "headers": _TAR} if isinstance(body, bytes) else {"json": body}
        async with self._session.request(method, path, params=query, **content) as response:
            text = await response.text()
            if response.status >= 400:
                raise EngineError(response.status, _message(text))
            if not text or response.content_type != "application/json":
                return None
            messages = [json.loads(line) for line in text.splitlines()]
            for message in messages:
                if isinstance(message, dict) and "errorDetail" in message:
                    raise EngineError(response.status, message["error"])
            return messages if len(messages) > 1 else messages[0]

    async def listed(self, path: str, /, *, label: str, **query: str) -> Json:
        """GET a list of the objects with a label."""
        return await self.get(path, filters=json.dumps({"label": [label]}), **query)

    async def now(self) -> int:
        """Return the engine's own time, in nanoseconds since 1970."""
        seconds, _, fraction = str((await self.get("/info"))["SystemTime"]).removesuffix("Z").partition(".")
        return int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))

    @asynccontextmanager
    async def stream(self, path: str, /, **query: str) -> AsyncIterator[aiohttp.StreamReader]:
        """GET a stream, to be iterated over by lines or otherwise. Raises at once for an error status."""
        async with self._session.get(path, params=query) as response:
            if response.status >= 400:
                raise EngineError(response.status, _message(await response.text()))
            yield response.content

    async def exists(self, path: str) -> bool:
        """Tell whether the engine knows an object (``/containers/x/json``, ``/volumes/x``, …)."""
        try:
            await self.get(path)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True


@asynccontextmanager
async def engine(address: str) -> AsyncIterator[Engine]:
    """Connect to the engine at ``unix://…`` or ``tcp://host:port``. Nothing is sent before the first call."""
    kind, _, where = address.partition("://")
    connector = aiohttp.UnixConnector(where, limit=0) if kind == "unix" else aiohttp.TCPConnector(limit=0)
    base_url = "http://engine" if kind == "unix" else f"http://{where}"
    timeout = aiohttp.ClientTimeout(total=None)  # streams last as long as the test
    async with aiohttp.ClientSession(base_url, connector=connector, timeout=timeout) as session:
        yield Engine(session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """The objects with a label, by name where they have one; false when there are none."""

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    @classmethod
    async def find(cls, api: Engine, label: str) -> Self:
        """Look for them: containers in any state, images with and without a name."""
        containers = await api.listed("/containers/json", label=label, all="true")
        networks = await api.listed("/networks", label=label)
        volumes = await api.listed("/volumes", label=label)
        images = await api.listed("/images/json", label=label)
        return cls(
            containers=tuple(sorted(each["Names"][0].removeprefix("/") for each in containers)),
            networks=tuple(sorted(each["Name"] for each in networks)),
            volumes=tuple(sorted(each["Name"] for each in volumes["Volumes"] or [])),
            images=tuple(sorted(each["Id"] for each in images)),
        )


async def leftovers(address: str, label: str) -> Leftovers:
    """Return what carries a label: ``name=value``, or ``name`` alone for any value."""
    async with engine(address) as api:
        return await Leftovers.find(api, label)


async def purge(address: str, label: str) -> None:
    """Remove everything that carries a label, running or not. What is gone meanwhile is no error.

    Raises EngineError when something cannot be removed, as an image that another container uses.
    """
    if "=" not in label:
        raise ValueError(f"{label!r} would remove what other installations made: name=value is needed")
    async with engine(address) as api:
        found = await Leftovers.find(api, label)
        for name in found.containers:
            await _remove_container(api, name)
        # Networks may share a name: by id.
        for network in await api.listed("/networks", label=label):
            await _remove(api, f"/networks/{network['Id']}")
        for name in found.volumes:
            await _remove(api, f"/volumes/{name}", force="true")
        for image in found.images:
            await _remove(api, f"/images/{image}", force="true")


async def _remove_container(api: Engine, name: str) -> None:
    try:
        await _remove(api, f"/containers/{name}", force="true", v="true")
    except EngineError as error:
        if "already in progress" not in error.message:
            raise
        with suppress(EngineError):  # gone already
            await api.call("POST", f"/containers/{name}/wait", condition="removed")


async def _remove(api: Engine, path: str, **query: str) -> None:
    try:
        await api.call("DELETE", path, **query)
    except EngineError as error:
        if error.status != 404:
            raise


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text
