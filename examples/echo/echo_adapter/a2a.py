"""The messages agents exchange: A2A 0.3 over JSON-RPC 2.0. Pure: bytes in, bytes out."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from .settings import About

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

RequestId: TypeAlias = str | int | None


class RpcError(Exception):
    """The caller's request cannot be answered; `code` is JSON-RPC's, the text goes to the caller."""

    def __init__(self, code: int, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What somebody said to this agent."""

    request_id: RequestId
    context_id: str | None
    """The conversation this belongs to, if the caller named one."""
    text: str
    """All text parts, a line break between them. Files and data are left out."""


def parse(body: bytes) -> Message:
    """Read one `message/send`. Raises RpcError with the code that JSON-RPC wants for what is wrong."""
    request = _object(body)
    request_id = _request_id(request)
    try:
        message = _message(request)
        return Message(request_id=request_id, context_id=message.get("contextId"), text=_text(message.get("parts")))
    except RpcError as error:
        error.request_id = request_id
        raise


def reply(message: Message, text: str) -> bytes:
    """The answer, as one text part: some callers read only the first."""
    result: dict[str, object] = {
        "kind": "message",
        "role": "agent",
        "messageId": str(uuid.uuid4()),
        "parts": [{"kind": "text", "text": text}],
    }
    if message.context_id is not None:
        result["contextId"] = message.context_id
    return to_json({"jsonrpc": "2.0", "id": message.request_id, "result": result})


def failure(error: RpcError) -> bytes:
    """The answer to a request that cannot be answered."""
    return to_json({"jsonrpc": "2.0", "id": error.request_id, "error": {"code": error.code, "message": str(error)}})


def agent_card(*, about: About, url: str, skills: Sequence[dict[str, object]]) -> dict[str, object]:
    """Describe this agent: sent when it registers, and served to whoever asks."""
    return {
        "protocolVersion": "0.3.0",
        "name": about.name,
        "description": about.description,
        "version": about.version,
        "url": url,
        "preferredTransport": "JSONRPC",
        "capabilities": {"streaming": False, "pushNotifications": False},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": list(skills),
    }


def to_json(value: object) -> bytes:
    """Compact, as everything on this wire: there are clients that search the text for `"status":"ok"`."""
    return json.dumps(value, separators=(",", ":")).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested without end
        raise RpcError(PARSE_ERROR, "the body is not JSON") from None
    if isinstance(request, list):
        raise RpcError(INVALID_REQUEST, "A2A has no batches: send one request at a time")
    if not isinstance(request, dict):
        raise RpcError(INVALID_REQUEST, "a request is a JSON object")
    return request


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _request_id(request: dict[str, Any]) -> RequestId:
    request_id = request.get("id")
    if "id" not in request:
        raise RpcError(INVALID_REQUEST, "id is missing: every A2A request wants an answer")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | None):
        raise RpcError(INVALID_REQUEST, "id is a string, an integer or null")
    return request_id


def _message(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'jsonrpc is "2.0"')
    if not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "method is a string")
    if request["method"] != "message/send":
        raise RpcError(METHOD_NOT_FOUND, "this agent knows the method message/send")
    params = request.get("params")
    if not isinstance(params, dict) or not isinstance(message := params.get("message"), dict):
        raise RpcError(INVALID_PARAMS, "params.message is an object")
    if message.get("role") not in ("user", "agent"):
        raise RpcError(INVALID_PARAMS, 'message.role is "user" or "agent"')
    if not isinstance(message.get("messageId"), str) or not message["messageId"]:
        raise RpcError(INVALID_PARAMS, "message.messageId is a string that is not empty")
    if not isinstance(message.get("contextId"), str | None):
        raise RpcError(INVALID_PARAMS, "message.contextId is a string")
    return message


def _text(parts: object) -> str:
    if not isinstance(parts, list):
        raise RpcError(INVALID_PARAMS, "message.parts is a list")
    texts = []
    for number, part in enumerate(parts):
        if not isinstance(part, dict):
            raise RpcError(INVALID_PARAMS, f"message.parts[{number}] is an object")
        # The protocol says `kind`; clients in use also say `type`.
        if part.get("kind", part.get("type")) != "text":
            continue
        if not isinstance(part.get("text"), str):
            raise RpcError(INVALID_PARAMS, f"message.parts[{number}].text is a string")
        texts.append(part["text"])
    if not texts:
        raise RpcError(INVALID_PARAMS, "message.parts has no text: this agent reads nothing else")
    return "\n".join(texts)
