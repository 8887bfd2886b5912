"""What other programs get from the example's HTTP endpoint."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .echo_support import FAILING_AGENT, WAITING_AGENT, Adapter, Platform, message, open_adapter, text

MIB = 1024 * 1024


def without(request: dict[str, Any], *path: str) -> dict[str, Any]:
    """The request, with one key removed."""
    inner = request
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return request


@pytest.mark.parametrize("path", ["/.well-known/agent-card.json", "/.well-known/agent.json"])
async def test_serves_its_agent_card_under_both_names(adapter: Adapter, path: str) -> None:
    status, body = await adapter.get(path)

    assert (status, json.loads(body)) == (
        200,
        {
            "protocolVersion": "0.3.0",
            "name": "Echo",
            "description": "Answers with what it was told",
            "version": "1.0.0",
            "url": adapter.url,
            "preferredTransport": "JSONRPC",
            "capabilities": {"streaming": False, "pushNotifications": False},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [
                {
                    "id": "echo",
                    "name": "Echo",
                    "description": "Answers with the text of the message.",
                    "tags": ["example"],
                },
            ],
        },
    )


async def test_is_healthy_in_compact_json(adapter: Adapter) -> None:
    assert await adapter.get("/health") == (200, b'{"status":"ok"}')


async def test_answers_a_message_with_its_text_in_the_shape_of_a2a_0_3(adapter: Adapter) -> None:
    answer = await adapter.rpc(message(text("Grüße, 世界 🌍")))

    message_id = answer["result"].pop("messageId")
    assert answer == {
        "jsonrpc": "2.0",
        "id": "r-1",
        "result": {"kind": "message", "role": "agent", "parts": [{"kind": "text", "text": "Grüße, 世界 🌍"}]},
    }
    assert message_id not in ("", "m-1")


async def test_gives_every_answer_a_message_id_of_its_own(adapter: Adapter) -> None:
    answers = [await adapter.rpc(message(text("hello"))) for _ in range(3)]

    assert len({answer["result"]["messageId"] for answer in answers}) == 3


@pytest.mark.parametrize("tag", ["kind", "type"])
async def test_understands_parts_tagged_either_way(adapter: Adapter, tag: str) -> None:
    answer = await adapter.rpc(message({tag: "text", "text": "hello"}))

    assert answer["result"]["parts"] == [text("hello")]


async def test_puts_all_text_into_one_part_because_some_callers_read_only_the_first(adapter: Adapter) -> None:
    answer = await adapter.rpc(message(text("one"), {"kind": "data", "data": {}}, text("two")))

    assert answer["result"]["parts"] == [text("one\ntwo")]


async def test_stays_in_the_conversation_it_was_asked_in(adapter: Adapter) -> None:
    answer = await adapter.rpc(message(text("hello"), contextId="c-1"))

    assert answer["result"]["contextId"] == "c-1"


@pytest.mark.parametrize("request_id", ["r-1", "", 0, 7, None])
async def test_repeats_the_id_of_the_request(adapter: Adapter, request_id: object) -> None:
    answer = await adapter.rpc(message(text("hello")) | {"id": request_id})

    assert answer["id"] == request_id


async def test_keeps_many_messages_at_once_apart(adapter: Adapter) -> None:
    answers = await asyncio.gather(*(adapter.rpc(message(text(f"number {n}")) | {"id": n}) for n in range(50)))

    assert [(a["id"], a["result"]["parts"]) for a in answers] == [(n, [text(f"number {n}")]) for n in range(50)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'"\xff"', id="not utf-8"),
        pytest.param(b'{"id":NaN}', id="NaN"),
        pytest.param(b"[" * 500_000, id="nested without end"),
        pytest.param(b"9" * 500_000, id="a number without end"),
    ],
)
async def test_calls_what_is_not_json_a_parse_error_of_nobody(adapter: Adapter, body: bytes) -> None:
    answer = await adapter.rpc(body)

    assert (answer["error"]["code"], answer["id"]) == (-32700, None)


@pytest.mark.parametrize(
    ("request_body", "named"),
    [
        pytest.param([message(text("a"))], "batch", id="batch"),
        pytest.param("hello", "object", id="string"),
        pytest.param(without(message(text("a")), "id"), "id", id="no id"),
        pytest.param(message(text("a")) | {"id": True}, "id", id="id is a boolean"),
        pytest.param(message(text("a")) | {"id": {}}, "id", id="id is an object"),
        pytest.param(message(text("a")) | {"id": 1.5}, "id", id="id is a fraction"),
        pytest.param(without(message(text("a")), "jsonrpc"), "jsonrpc", id="no version"),
        pytest.param(message(text("a")) | {"jsonrpc": "1.0"}, "jsonrpc", id="another version"),
        pytest.param(without(message(text("a")), "method"), "method", id="no method"),
        pytest.param(message(text("a")) | {"method": 7}, "method", id="method is a number"),
    ],
)
async def test_names_what_is_wrong_with_an_invalid_request(adapter: Adapter, request_body: object, named: str) -> None:
    error = (await adapter.rpc(request_body))["error"]

    assert (error["code"], named in error["message"]) == (-32600, True)


@pytest.mark.parametrize("method", ["message/stream", "tasks/get", "SendMessage", ""])
async def test_knows_no_other_method(adapter: Adapter, method: str) -> None:
    error = (await adapter.rpc(message(text("a")) | {"method": method}))["error"]

    assert (error["code"], "message/send" in error["message"]) == (-32601, True)


@pytest.mark.parametrize(
    ("request_body", "named"),
    [
        pytest.param(without(message(), "params"), "params.message", id="no params"),
        pytest.param(message() | {"params": []}, "params.message", id="params is a list"),
        pytest.param(without(message(), "params", "message"), "params.message", id="no message"),
        pytest.param(message(text("a"), role="god"), "message.role", id="unknown role"),
        pytest.param(without(message(text("a")), "params", "message", "messageId"), "messageId", id="no message id"),
        pytest.param(message(text("a"), messageId=""), "message.messageId", id="empty message id"),
        pytest.param(message(text("a"), contextId=7), "message.contextId", id="context id is a number"),
        pytest.param(message(text("a"), parts="hello"), "message.parts", id="parts is a string"),
        pytest.param(message(), "message.parts", id="no parts"),
        pytest.param(message({"text": "untagged"}), "message.parts", id="no text part"),
        pytest.param(message(text("a"), "hello"), "message.parts[1]", id="a part is a string"),
        pytest.param(message({"kind": "text"}), "message.parts[0].text", id="a text part without text"),
    ],
)
async def test_names_what_is_wrong_with_invalid_params(adapter: Adapter, request_body: object, named: str) -> None:
    error = (await adapter.rpc(request_body))["error"]

    assert (error["code"], named in error["message"]) == (-32602, True)


@pytest.mark.parametrize("wrong", [{"jsonrpc": "1.0"}, {"method": "tasks/get"}, {"params": {}}])
async def test_says_which_request_an_error_belongs_to(adapter: Adapter, wrong: dict[str, object]) -> None:
    answer = await adapter.rpc(message(text("a")) | wrong)

    assert ("error" in answer, answer["id"]) == (True, "r-1")


async def test_answers_also_when_the_agent_fails_but_not_with_the_reason(configs: Path, platform: Platform) -> None:
    async with open_adapter(configs, "-c", FAILING_AGENT, PLATFORM_URL=platform.url) as adapter:
        answer = await adapter.rpc(message(text("a")))

        assert answer["error"] == {"code": -32603, "message": "the agent failed: see its log"}


async def test_takes_a_body_of_exactly_one_mebibyte(adapter: Adapter) -> None:
    empty = len(json.dumps(message(text(""))))
    request = json.dumps(message(text("x" * (MIB - empty)))).encode()
    assert len(request) == MIB

    answer = await adapter.rpc(request)

    assert len(answer["result"]["parts"][0]["text"]) == MIB - empty


@pytest.mark.parametrize("size", [MIB + 1, 8 * MIB])
async def test_refuses_a_larger_body_with_413(adapter: Adapter, size: int) -> None:
    assert await adapter.post(b"x" * size) == (413, b'{"error":"the body is larger than 1048576 bytes"}')


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="no length"),
        pytest.param(b"Content-Length: -1\r\n", id="negative"),
        pytest.param(b"Content-Length: ten\r\n", id="no number"),
        pytest.param(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", id="in chunks"),
    ],
)
async def test_refuses_a_body_without_a_length_with_411_and_hangs_up(adapter: Adapter, head: bytes) -> None:
    answer = await exchange(adapter, b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n{}")

    assert answer.startswith(b"HTTP/1.1 411 ")


async def test_refuses_a_body_that_is_cut_off(adapter: Adapter) -> None:
    answer = await exchange(adapter, b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{}", finished=True)

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_logs_one_line_when_a_caller_goes_away_and_goes_on(configs: Path, platform: Platform) -> None:
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, "-c", WAITING_AGENT, **environment) as adapter:
        with open_request(adapter, message(text("hello"))):
            await platform.heartbeat_where("active_tasks", 1)
        adapter.say("nobody listens")

        assert "a connection broke: " in await adapter.logged("WARNING")
        adapter.say("somebody listens")
        assert (await adapter.rpc(message(text("hello"))))["result"]["parts"] == [text("somebody listens")]


async def test_reads_no_request_out_of_the_body_of_a_get(adapter: Adapter) -> None:
    hidden = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await exchange(adapter, b"GET /health HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(hidden), hidden))

    assert answer.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 405), ("GET", "/other", 404), ("POST", "/other", 404), ("DELETE", "/", 501)],
)
async def test_refuses_what_it_does_not_serve_in_json(adapter: Adapter, method: str, path: str, status: int) -> None:
    async with adapter.http.request(method, adapter.url + path, data=b"{}") as response:
        assert (response.status, list(await response.json())) == (status, ["error"])


async def exchange(adapter: Adapter, request: bytes, *, finished: bool = False) -> bytes:
    """Send these bytes and return all that comes until the adapter hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(adapter.url.rpartition(":")[2]))
    writer.write(request)
    if finished:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


@contextmanager
def open_request(adapter: Adapter, request: object) -> Iterator[None]:
    """Send a request; at the end reset the connection instead of reading the answer."""
    body = json.dumps(request).encode()
    with socket.create_connection(("127.0.0.1", int(adapter.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        yield
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
