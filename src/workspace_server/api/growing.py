"""A text file that may grow while it is sent: what it had when it was asked for, or a range of that."""

import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from workspace_server.api.wire import JsonAnswer
from workspace_server.errors import InvalidRequestError

_BLOCK = 64 * 1024
_RANGE = re.compile(r"([0-9]{1,18})?-([0-9]{1,18})?")


def growing_text(path: Path, headers: Mapping[str, str]) -> Response:
    """The file as it is now, whole or the one range of bytes that ``headers`` ask for.

    As RFC 9110 has it: other units and several ranges are answered with the whole, and 416 a range that is not there.
    Raises InvalidRequestError for a range that is none.
    """
    size = path.stat().st_size
    wanted = _wanted(headers.get("range", ""), size) if "if-range" not in headers else None
    first, end = wanted or (0, size)
    common = {"Accept-Ranges": "bytes", "Content-Length": str(max(0, end - first))}
    if wanted is None:
        return _text(path, first, end, 200, common)
    if first >= end:
        body = {"error": f"the log has no such bytes: it has {size} so far", "code": "invalid_request"}
        return JsonAnswer(body, 416, {"Content-Range": f"bytes */{size}"})
    return _text(path, first, end, 206, common | {"Content-Range": f"bytes {first}-{end - 1}/{size}"})


def _wanted(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last that are asked for, the first beyond the end when there are none."""
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return None
    match = _RANGE.fullmatch(ranges.strip())
    first, last = match.groups() if match else (None, None)
    if (first is None and last is None) or (first and last and int(first) > int(last)):
        raise InvalidRequestError("the Range is none", hint="for example Range: bytes=0-499, bytes=500- or bytes=-500")
    if first is None:
        return max(0, size - int(last or 0)), size
    return int(first), min(size, int(last) + 1) if last else size


def _text(path: Path, first: int, end: int, status: int, headers: Mapping[str, str]) -> Response:
    body = _bytes(path, first, end)
    return StreamingResponse(body, status, headers, media_type="text/plain; charset=utf-8")


async def _bytes(path: Path, first: int, end: int) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        file.seek(first)
        while first < end and (block := file.read(min(_BLOCK, end - first))):
            first += len(block)
            yield block
