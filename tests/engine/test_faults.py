"""Foreign exceptions become this program's errors: all of them, by type and status."""

import asyncio
import errno
import inspect
import json
from typing import Any

import aiodocker
import aiodocker.exceptions
import aiohttp
import aiohttp.client_exceptions
import pytest
from aiodocker.exceptions import DockerContextError
from aiohttp.client_reqrep import ConnectionKey

from workspace_server.engine.address import EngineAddress
from workspace_server.engine.faults import FOREIGN, translate, translated
from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    SettingsError,
    UnavailableError,
    WorkspaceServerError,
)

ADDRESS = EngineAddress(url="unix:///run/away.sock", local_socket=True)

NOT_OF_THE_ENGINE = {aiohttp.client_exceptions.WSMessageTypeError}  # WebSockets: the engine is never asked for one

KEY = ConnectionKey("localhost", 80, False, True, None, None, None)  # noqa: FBT003 - aiohttp's own
NO_SOCKET = OSError(errno.ENOENT, "no such file")

ARGUMENTS: dict[type[BaseException], tuple[Any, ...]] = {
    aiodocker.DockerError: (500, "broken"),
    aiodocker.exceptions.DockerContainerError: (500, "broken", "c"),
    aiohttp.ClientConnectorError: (KEY, NO_SOCKET),
    aiohttp.ClientConnectorDNSError: (KEY, NO_SOCKET),
    aiohttp.ClientProxyConnectionError: (KEY, NO_SOCKET),
    aiohttp.ClientSSLError: (KEY, NO_SOCKET),
    aiohttp.ClientConnectorSSLError: (KEY, NO_SOCKET),
    aiohttp.ClientConnectorCertificateError: (KEY, ValueError("certificate")),
    aiohttp.client_exceptions.UnixClientConnectorError: ("/run/away.sock", KEY, NO_SOCKET),
    aiohttp.ServerFingerprintMismatch: (b"", b"", "localhost", 80),
}


def foreign_exceptions() -> list[type[Exception]]:
    found = [
        each
        for module in (aiodocker.exceptions, aiohttp.client_exceptions)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == module.__name__ and each not in NOT_OF_THE_ENGINE
    ]
    assert aiodocker.DockerError in found
    assert aiohttp.ClientPayloadError in found
    return found


def instance(kind: type[Exception]) -> Exception:
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind.__new__(kind, None, ())
    return kind(*ARGUMENTS.get(kind, ("broken",)))


@pytest.mark.parametrize("kind", foreign_exceptions(), ids=lambda kind: kind.__name__)
def test_every_foreign_exception_leaves_as_an_error_of_this_program(kind: type[Exception]) -> None:
    with pytest.raises(WorkspaceServerError), translated("start the container c", ADDRESS):
        raise instance(kind)


@pytest.mark.parametrize("error", [NO_SOCKET, TimeoutError(), json.JSONDecodeError("x", "y", 0)])
def test_so_does_what_the_standard_library_raises(error: Exception) -> None:
    assert isinstance(error, FOREIGN)


def test_the_foreign_exception_stays_as_the_cause() -> None:
    error = aiodocker.DockerError(500, "broken")

    with pytest.raises(UnavailableError) as caught, translated("say what it is", ADDRESS):
        raise error

    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, InvalidRequestError, "engine_refused"),
        (403, InvalidRequestError, "engine_refused"),
        (404, NotFoundError, "not_found"),
        (409, ConflictError, "conflict"),
        (500, UnavailableError, "engine_error"),
        (503, UnavailableError, "engine_error"),
        (900, UnavailableError, "engine_unavailable"),
    ],
)
def test_the_status_decides(status: int, kind: type[WorkspaceServerError], code: str) -> None:
    error = translate(aiodocker.DockerError(status, "No such container"), "start the container c", ADDRESS)

    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize("status", [400, 500, 503])
def test_an_error_of_the_engine_says_where_the_engines_log_is(status: int) -> None:
    error = translate(aiodocker.DockerError(status, "broken"), "start the container c", ADDRESS)

    assert "journalctl -u docker" in error.as_dict()["hint"]


def test_what_the_engine_said_is_passed_on_as_one_line() -> None:
    error = translate(aiodocker.DockerError(409, "in use\n by\tx"), "remove the volume v", ADDRESS)

    assert error.message == "the container engine could not remove the volume v: in use by x"


def test_a_long_answer_is_cut() -> None:
    error = translate(aiodocker.DockerError(409, "x" * 5000), "remove the volume v", ADDRESS)

    assert len(error.message) < 500


def test_a_full_disk_is_no_space() -> None:
    refusal = aiodocker.DockerError(500, "mkdir /var/lib/docker/overlay2/x: no space left on device")

    assert translate(refusal, "create the container c", ADDRESS).code == "no_space"


def test_a_time_out_is_a_deadline() -> None:
    assert isinstance(translate(asyncio.TimeoutError(), "say what it is", ADDRESS), DeadlineError)  # noqa: UP041


def test_a_broken_docker_configuration_is_a_setting() -> None:
    assert isinstance(translate(DockerContextError("no meta.json"), "say what it is", ADDRESS), SettingsError)


def test_an_engine_that_does_not_answer_is_named_with_its_address_and_how_to_start_it() -> None:
    error = translate(aiohttp.ClientConnectorError(KEY, NO_SOCKET), "say what it is", ADDRESS)

    assert str(error) == (
        "the container engine at unix:///run/away.sock does not answer\n"
        "hint: start it (Linux: sudo systemctl start docker; Docker Desktop: open it) or set DOCKER_HOST"
    )


def test_an_engine_that_may_not_be_used_says_so() -> None:
    refused = aiohttp.ClientConnectorError(KEY, PermissionError(errno.EACCES, "permission denied"))

    assert "may not be used by this user" in translate(refused, "say what it is", ADDRESS).message


def test_the_reason_is_found_behind_the_libraries_wrappings() -> None:
    wrapped = aiodocker.DockerError(900, "cannot connect")
    wrapped.__context__ = aiohttp.ClientConnectorError(KEY, PermissionError(errno.EACCES, "permission denied"))

    assert "may not be used by this user" in translate(wrapped, "say what it is", ADDRESS).message
