"""The wire format: compact JSON, whole floats without ``.0``, RFC 3339 times in UTC, bodies read leniently."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from workspace_server.errors import InvalidRequestError

Body = TypeVar("Body", bound=BaseModel)

LARGEST_BODY = 1024 * 1024

Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
"""A whole number of a body, as large as databases keep; no text, no fraction."""
Number = Annotated[float, Field(strict=True)]
"""A number of a body, whole or not; no text."""


class JsonAnswer(Response):
    """A JSON response as clients of this platform expect it."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return json.dumps(plain(content), separators=(",", ":"), ensure_ascii=False).encode()


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, trailing zeros of the fraction trimmed."""
    if moment is None:
        return None
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}Z"


def plain(value: Any) -> Any:
    """The value as JSON can say it: whole floats are whole, times are text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, datetime):
        return timestamp(value)
    return value.value if isinstance(value, Enum) else value


async def read_body(request: Request) -> bytes:
    """The request's body; raises InvalidRequestError ``body_too_large`` beyond 1 MiB."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise InvalidRequestError("the request body is larger than 1 MiB", code="body_too_large")
    return bytes(body)


def json_body(model: type[Body], complaint: str, *, optional: bool = False) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads ``model`` from the body; anything else is 400 with ``complaint``.

    No body at all is an empty object where it is ``optional``.

    Whatever the request's Content-Type; unknown keys are ignored, keys match in any case, null means absent.
    """

    async def read(request: Request) -> Body:
        try:
            given = json.loads((await read_body(request) or b"{}") if optional else await read_body(request))
            # Python reads more than JSON can say: NaN, infinities, halves of characters. They would not get out again.
            json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
            if not isinstance(given, dict):
                raise InvalidRequestError(complaint, hint="the body must be a JSON object")
            return model.model_validate(_known(model, given))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise InvalidRequestError(complaint, hint=f"{where}: {error.errors()[0]['msg']}") from None
        except (ValueError, RecursionError):
            raise InvalidRequestError(complaint, hint="the body must be JSON") from None

    return read


def body_schema(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads ``model`` through ``json_body``."""
    schema = model.model_json_schema(ref_template="{model}")
    inner = schema.pop("$defs", {})  # written where they are used: nothing here is a component of the document
    for field in schema["properties"].values():
        for key, value in inner.get(field.pop("$ref", None), {}).items():
            field.setdefault(key, value)
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def _known(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``model`` under their own names. Null is absent, unless the field takes any JSON."""
    names = {name.lower(): name for name in model.model_fields}
    known: dict[str, Any] = {}
    for key, value in given.items():
        name = names.get(key.lower())
        if name is None:
            continue
        kind = model.model_fields[name].annotation
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            known[name] = _known(kind, value)
        elif value is not None or kind is Any:
            known[name] = value
    return known
