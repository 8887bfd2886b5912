"""The server's API, as a command calls it."""

from collections.abc import Callable
from urllib.parse import unquote

import httpx
import pytest

from workspace_server.cli.client import Client, open_client, path_of
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


@pytest.mark.parametrize("body", [b"[]", b'{"hint": "x"}', b'"text"', b"null"])
async def test_an_error_in_another_form_names_the_status(client_of: ClientOf, body: bytes) -> None:
    client, _ = client_of(httpx.Response(500, content=body))

    assert (await failure(client)).message == "the server answered 500"


STREAM = (
    b'event: step\nid: 0\ndata: {"n":1}\n\n: still here\n\nid: 4\nevent: line\ndata: {"text":"a: b"}\n\n'
    b'id: 4\nevent: end\ndata: {"state":"done"}\n\nevent: line\ndata: {"text":"never read"}\n\n'
)


async def test_events_are_their_fields_up_to_the_last_one(client_of: ClientOf) -> None:
    client, server = client_of(httpx.Response(200, content=STREAM))

    assert [event async for event in client.events("/x?follow=1", "end")] == [
        {"event": "step", "id": "0", "data": {"n": 1}},
        {"event": "line", "id": "4", "data": {"text": "a: b"}},
        {"event": "end", "id": "4", "data": {"state": "done"}},
    ]
    assert str(server.requests[0].url) == "http://127.0.0.1:8080/x?follow=1"


async def test_a_stream_that_ends_too_early_is_an_error(client_of: ClientOf) -> None:
    client, _ = client_of(httpx.Response(200, content=STREAM.partition(b"id: 4\nevent: end")[0]))

    with pytest.raises(UnavailableError, match=r"^the server at .* stopped"):
        assert [event async for event in client.events("/x?follow=1", "end")] == []


async def test_a_stream_that_is_refused_is_an_error_in_the_servers_own_words(client_of: ClientOf) -> None:
    client, _ = client_of(json_of({"error": "no build x", "code": "unknown_build"}, 404))

    with pytest.raises(WorkspaceServerError, match="no build x"):
        assert [event async for event in client.events("/x?follow=1", "end")] == []


async def test_a_query_is_sent_as_it_is_meant(client_of: ClientOf) -> None:
    client, server = client_of(json_of([]))
    await client.call("GET", "/images/builds", query={"runtime": "a&limit=1#x"})

    assert dict(server.requests[0].url.params) == {"runtime": "a&limit=1#x"}


@pytest.mark.parametrize("part", ["../../workspaces", "a/b", "a?follow=1", "a#b", "%2e%2e", ""])
async def test_an_argument_leads_to_no_other_route(client_of: ClientOf, part: str) -> None:
    client, server = client_of(json_of({}))
    await client.call("GET", path_of("images", "builds", part))
    raw = server.requests[0].url.raw_path.decode()

    assert (raw.rpartition("/")[0], unquote(raw.rpartition("/")[2])) == ("/images/builds", part)


@pytest.mark.parametrize(("token", "header"), [("s3cret", "Bearer s3cret"), (None, None)])
async def test_the_owners_token_is_shown_with_every_request(token: str | None, header: str | None) -> None:
    async with open_client("http://127.0.0.1:8080", token) as client:
        assert client._http.headers.get("Authorization") == header


@pytest.mark.parametrize("org_id", ["org-1", None])
async def test_a_hosted_server_is_told_that_it_is_meant(org_id: str | None) -> None:
    async with open_client("http://127.0.0.1:8080", "t", org_id) as client:
        assert client._http.headers.get("X-Molecule-Org-Id") == org_id


async def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org")
    async with open_client("http://127.0.0.1:8080", "t") as client:
        assert client._http.trust_env is False
