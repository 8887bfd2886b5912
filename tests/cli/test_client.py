"""The server's API, as a command calls it."""

from collections.abc import Callable

import httpx
import pytest

from workspace_server.cli.client import Client, open_client
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError

from .conftest import Server, json_of

ClientOf = Callable[..., tuple[Client, Server]]


async def failure(client: Client) -> WorkspaceServerError:
    with pytest.raises(WorkspaceServerError) as caught:
        await client.call("GET", "/workspaces")
    return caught.value


async def test_an_answer_is_its_json(client_of: ClientOf) -> None:
    client, server = client_of(json_of([{"id": "w"}]))

    assert await client.call("POST", "/workspaces", {"name": "a"}) == [{"id": "w"}]
    assert [(request.method, request.url.path, request.content) for request in server.requests] == [
        ("POST", "/workspaces", b'{"name":"a"}')
    ]


async def test_an_error_is_in_the_servers_own_words(client_of: ClientOf) -> None:
    client, _ = client_of(json_of({"error": "it failed", "code": "build_failed", "hint": "repair it"}, 409))

    error = await failure(client)
    assert (error.message, error.code, error.hint) == ("it failed", "build_failed", "repair it")


@pytest.mark.parametrize("body", [b"404 page not found", b"", b"{}"])
async def test_an_error_without_words_names_the_status(client_of: ClientOf, body: bytes) -> None:
    client, _ = client_of(httpx.Response(404, content=body))

    assert (await failure(client)).message == "the server answered 404"


async def test_an_answer_that_is_no_json_is_an_error(client_of: ClientOf) -> None:
    client, _ = client_of(httpx.Response(200, text="<html>welcome</html>"))

    error = await failure(client)
    assert (error.code, error.message) == (
        "unexpected_answer",
        "what answers at http://127.0.0.1:8080/workspaces sent no JSON",
    )


@pytest.mark.parametrize("cause", [httpx.ConnectError("x"), httpx.RemoteProtocolError("x"), httpx.ConnectTimeout("x")])
async def test_a_server_that_is_not_there_is_named_with_the_way_to_start_it(
    client_of: ClientOf, cause: Exception
) -> None:
    client, _ = client_of(cause)

    error = await failure(client)
    assert (type(error), error.message, error.hint) == (
        UnavailableError,
        "no server answers at http://127.0.0.1:8080",
        "start it: workspace-server serve",
    )


async def test_a_server_that_is_slow_is_not_said_to_be_away(client_of: ClientOf) -> None:
    client, _ = client_of(httpx.ReadTimeout("x"))

    error = await failure(client)
    assert (type(error), "did not answer in time" in error.message) == (DeadlineError, True)


@pytest.mark.parametrize(("token", "header"), [("s3cret", "Bearer s3cret"), (None, None)])
async def test_the_owners_token_is_shown_with_every_request(token: str | None, header: str | None) -> None:
    async with open_client("http://127.0.0.1:8080", token) as client:
        assert client._http.headers.get("Authorization") == header


async def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org")
    async with open_client("http://127.0.0.1:8080", "t") as client:
        assert client._http.trust_env is False
