"""The engine's failures in this program's words: the one place that knows the foreign libraries' exceptions.

What decides is the exception's type and the HTTP status. The engine's text is looked at in ``no_space`` only; of what
it says of registries there is more to know, see ``registry_faults``.
"""

import asyncio
import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerContextError

from workspace_server.engine.address import EngineAddress
from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    SettingsError,
    UnavailableError,
    WorkspaceServerError,
)

FOREIGN = (aiodocker.DockerError, aiohttp.ClientError, OSError, json.JSONDecodeError)
"""Every way in which a call of the engine can fail. asyncio's TimeoutError is an OSError."""

ENGINE_UNAVAILABLE: Final = "engine_unavailable"

HOW_TO_START = "start it (Linux: sudo systemctl start docker; Docker Desktop: open it) or set DOCKER_HOST"
SEE_ITS_LOG = "see the engine's own log (Linux: sudo journalctl -u docker; Docker Desktop: dockerd.log), and try again"

NO_CONNECTION = 900  # aiodocker's own number for "could not connect"
_ANSWER_LIMIT = 400


@contextmanager
def translated(operation: str, address: EngineAddress) -> Iterator[None]:
    """Raise failures of the block as this program's errors; ``operation`` completes "the engine could not …"."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error, operation, address) from error


@contextmanager
def reaching(address: EngineAddress) -> Iterator[None]:
    """Raise every failure of the block as ``engine_unavailable``.

    For the first question to an engine, which has no wrong answers: a 404 there comes from something that is no engine.
    """
    try:
        yield
    except (*FOREIGN, TypeError, LookupError) as error:  # the last two: JSON or HTML of some other server
        raise engine_unavailable(address, _cause_number(error)) from error


def translate(error: Exception, operation: str, address: EngineAddress) -> WorkspaceServerError:
    """One foreign exception as an error of this program."""
    match error:
        case DockerContextError():
            return SettingsError(f"the docker configuration cannot be used: {answer_of(error)}")
        case aiodocker.DockerError():
            return _of_status(error, operation, address)
        case asyncio.TimeoutError():
            return engine_timeout(f"the engine at {address.url} took too long to {operation}", address)
        case _:
            return engine_unavailable(address, _cause_number(error))


def engine_timeout(message: str, address: EngineAddress) -> DeadlineError:
    """The engine is there, and does not answer."""
    return DeadlineError(
        message, code="engine_timeout", hint=f"see what keeps the engine at {address.url} busy: its log, its disk"
    )


def engine_unavailable(address: EngineAddress, number: int | None = None) -> UnavailableError:
    """The engine does not answer; ``number`` is the ``errno`` that says why, when there is one."""
    if number in (errno.EACCES, errno.EPERM):
        return UnavailableError(
            f"the container engine at {address.url} may not be used by this user",
            code=ENGINE_UNAVAILABLE,
            hint="add the user to the group docker and log in again: sudo usermod -aG docker $USER",
        )
    return UnavailableError(
        f"the container engine at {address.url} does not answer",
        code=ENGINE_UNAVAILABLE,
        hint=HOW_TO_START,
    )


def no_space(text: str) -> bool:
    """Whether the engine's disk is full. The engine says so in the text of a 500 only: the kernel's own words."""
    return "no space left on device" in text.lower() or "disk quota exceeded" in text.lower()


def engine_no_space(operation: str) -> UnavailableError:
    """The engine's disk is full."""
    return UnavailableError(
        f"the container engine could not {operation}: its disk is full",
        code="no_space",
        hint="free space where the engine keeps its data: docker system df shows it, docker builder prune frees it",
    )


def answer_of(error: aiodocker.DockerError) -> str:
    """What the engine said, as one line of bearable length."""
    line = " ".join(str(error.message).split())
    return line if len(line) <= _ANSWER_LIMIT else f"{line[:_ANSWER_LIMIT]}…"


def _of_status(error: aiodocker.DockerError, operation: str, address: EngineAddress) -> WorkspaceServerError:
    if error.status == NO_CONNECTION:
        return engine_unavailable(address, _cause_number(error))
    if no_space(str(error.message)):
        return engine_no_space(operation)
    message = f"the container engine could not {operation}: {answer_of(error)}"
    match error.status:
        case 404:
            return NotFoundError(message)
        case 409:
            return ConflictError(message)
        case status if status in range(400, 500):
            return InvalidRequestError(message, code="engine_refused", hint=SEE_ITS_LOG)
        case _:
            return UnavailableError(message, code="engine_error", hint=SEE_ITS_LOG)


def _cause_number(error: BaseException | None) -> int | None:
    """The first errno along the chain of causes: aiodocker and aiohttp wrap the one that counts."""
    while error is not None:
        inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(inner, OSError) and inner.errno is not None:
            return inner.errno
        error = error.__cause__ or error.__context__
    return None
