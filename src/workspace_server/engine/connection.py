"""One HTTP connection pool to the engine; every call has a time limit and raises this program's errors only."""

import json
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import aiodocker
import aiohttp

from workspace_server.concurrency import Deadline
from workspace_server.engine.address import EngineAddress
from workspace_server.engine.faults import ENGINE_UNAVAILABLE, engine_timeout, reaching, translated
from workspace_server.errors import DeadlineError, SettingsError, UnavailableError

QUICK = 30.0
"""Seconds for a call that reads or changes the engine's own records."""
SLOW = 120.0
"""Seconds for a call that works on containers, images or disks."""

_FOR_EVER = aiohttp.ClientTimeout(total=None, sock_connect=QUICK)


class Connection:
    """The engine's API as requests and JSON. ``aiodocker`` is used through its request method only.

    Its convenience methods lack parameters that are needed here, and its streams end silently when the connection is
    cut.
    """

    def __init__(self, docker: aiodocker.Docker, address: EngineAddress) -> None:
        self._docker = docker
        self.address = address

    async def call(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: float | None = QUICK,
    ) -> Any:
        """The answer's JSON (``""`` without a body). ``operation`` completes "the engine could not …".

        ``limit`` None waits as long as the engine does: for calls that end when a container does.
        """
        async with self._reached(operation, limit):
            return await self._docker._query_json(  # noqa: SLF001 - see the class
                path,
                method,
                params=dict(params or {}),
                data=body,
                headers={**_headers(body), **(headers or {})},
                timeout=_FOR_EVER,
            )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The answer's body as it comes, without a time limit; a cut connection raises while reading."""
        async with (
            self._reached(operation, None),
            self._docker._query(  # noqa: SLF001 - see the class
                path, method, params=dict(params or {}), headers=dict(headers or {}), timeout=_FOR_EVER
            ) as response,
        ):
            try:
                yield response.content
            finally:
                response.close()  # not release(): the rest of an endless body would be waited for

    @asynccontextmanager
    async def _reached(self, operation: str, limit: float | None) -> AsyncIterator[None]:
        """A block that talks to an engine whose API version is known."""
        try:
            async with nullcontext() if limit is None else Deadline(limit).limit(operation):
                with reaching(self.address):
                    await self._docker._check_version()  # noqa: SLF001 - see the class
                with translated(operation, self.address):
                    yield
        except DeadlineError as error:
            if limit is None:
                raise  # of whoever reads the answer
            raise engine_timeout(error.message, self.address) from error
        except UnavailableError as error:
            if error.code == ENGINE_UNAVAILABLE:
                self._docker.api_version = "auto"  # what comes back may be another version
            raise


async def json_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream, one a line, of any length."""
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
    if pending.strip():
        yield json.loads(pending)


@asynccontextmanager
async def open_connection(address: EngineAddress) -> AsyncIterator[Connection]:
    """A connection to the engine. Nothing is sent yet, so the engine may be away.

    Raises SettingsError for certificates that cannot be used.
    """
    # Followed logs and waits hold a connection each: a pool with a limit would run dry.
    connector: aiohttp.BaseConnector
    if address.local_socket:
        url, connector = "unix://localhost", aiohttp.UnixConnector(address.url.removeprefix("unix://"), limit=0)
    else:
        scheme = "http" if address.tls is None else "https"
        url = address.url.replace("tcp", scheme, 1)
        connector = aiohttp.TCPConnector(limit=0, ssl=True if address.tls is None else _ssl_context(address))
    async with connector, aiodocker.Docker(url=url, connector=connector) as docker:
        yield Connection(docker, address)


def _ssl_context(address: EngineAddress) -> ssl.SSLContext:
    assert address.tls is not None  # noqa: S101 - asked by the caller
    try:
        context = ssl.create_default_context(cafile=str(address.tls / "ca.pem"))
        context.load_cert_chain(address.tls / "cert.pem", address.tls / "key.pem")
    except OSError as error:  # also ssl.SSLError: a file that is no certificate
        raise SettingsError(
            f"the engine's certificates in {address.tls} cannot be used: {error.strerror or error}",
            hint="ca.pem, cert.pem and key.pem must be there; unset DOCKER_TLS_VERIFY for an engine without TLS",
        ) from error
    return context


def _headers(body: Mapping[str, Any] | bytes | None) -> Mapping[str, str | int | bool]:
    return {"Content-Type": "application/x-tar" if isinstance(body, bytes) else "application/json"}


def label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """The engine's filter for objects that carry all of ``labels``."""
    return {"label": [f"{name}={value}" for name, value in labels.items()]}
