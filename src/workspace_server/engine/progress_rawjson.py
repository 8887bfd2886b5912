"""BuildKit's JSON form, as buildx prints it: objects over many lines or one a line, and plain text after them."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workspace_server.engine.progress import Vertex, VertexDecoder, readable
from workspace_server.model.build import BuildStep
from workspace_server.text import plain

_OBJECT_LIMIT = 8 * 1024 * 1024


class RawJsonDecoder(VertexDecoder):
    """``--progress=rawjson``. The text for people is written like the plain form."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        super().__init__(on_text)
        self._pending: list[bytes] = []
        self._size = 0
        self._clocks: dict[int, Clock] = {}
        self._shown = 0

    def feed(self, line: bytes) -> list[BuildStep]:
        """Take one line. An object ends with a line ``}`` or on the line it began on."""
        line = line.rstrip(b"\r")
        if not self._pending and not line.startswith(b"{"):
            self._client_text(line)
            return []
        if not self._pending and (message := _parsed(line)) is not None:
            return self._message(message)
        self._pending.append(line)
        self._size += len(line)
        if line != b"}" and self._size < _OBJECT_LIMIT:
            return []
        lines, self._pending, self._size = self._pending, [], 0
        message = _parsed(b"\n".join(lines))
        if message is not None:
            return self._message(message)
        for each in lines:
            self._client_text(each)
        return []

    def _client_text(self, line: bytes) -> None:
        text = readable(line)
        self._shown = 0
        self._write(text)
        self._note_client(text)

    def _message(self, message: Mapping[str, Any]) -> list[BuildStep]:
        steps: list[BuildStep] = []
        vertices = _items(message, "vertexes")
        for each in vertices:  # first all names: they make the number of steps known before the first one begins
            self._vertex(_text(each, "digest"), _text(each, "name"))
        for each in vertices:
            steps += self._vertex_changed(each)
        for each in _items(message, "statuses"):
            self._status(each)
        for each in _items(message, "logs"):
            self._log(each)
        for each in vertices:  # last: what came with its end was written before it
            steps += self._vertex_ended(each)
        return steps

    def _vertex_changed(self, data: Mapping[str, Any]) -> list[BuildStep]:
        vertex = self._vertices[_text(data, "digest")]
        if not data.get("started") or vertex.began:
            return []
        self._about(vertex)
        self._clocks[vertex.number] = Clock(started=_time(data, "started"))
        return self._begin(vertex)

    def _vertex_ended(self, data: Mapping[str, Any]) -> list[BuildStep]:
        vertex = self._vertices[_text(data, "digest")]
        if not data.get("completed") or vertex.ended:
            return []
        self._flush(vertex)
        seconds, error = _seconds(_time(data, "started"), _time(data, "completed")), _text(data, "error")
        if error.endswith("context canceled"):  # another step failed, and this one was told to stop
            self._about(vertex, "CANCELED")
            vertex.ended = True
            return []
        cached = bool(data.get("cached"))
        self._about(vertex, f"ERROR: {error}" if error else "CACHED" if cached else f"DONE {seconds:.1f}s")
        return self._end(vertex, cached=cached, seconds=seconds, error=error or None)

    def _status(self, data: Mapping[str, Any]) -> None:
        vertex = self._vertices.get(_text(data, "vertex"))
        if vertex is not None and data.get("completed"):
            self._about(vertex, f"{_text(data, 'id')} done")

    def _log(self, data: Mapping[str, Any]) -> None:
        vertex = self._vertices.get(_text(data, "vertex"))
        if vertex is None:
            return
        try:
            text = base64.b64decode(_text(data, "data"))
        except ValueError:
            return
        clock = self._clocks.setdefault(vertex.number, Clock())
        clock.now = _time(data, "timestamp")
        *lines, clock.unfinished_line = (clock.unfinished_line + text).split(b"\n")
        for line in lines:
            self._log_line(vertex, line, clock)

    def _flush(self, vertex: Vertex) -> None:
        clock = self._clocks.get(vertex.number)
        if clock is not None and clock.unfinished_line:
            self._log_line(vertex, clock.unfinished_line, clock)
            clock.unfinished_line = b""

    def _log_line(self, vertex: Vertex, line: bytes, clock: "Clock") -> None:
        text = readable(line)
        vertex.tail.append(text)
        self._about(vertex, f"{_seconds(clock.started, clock.now):.3f} {text}")

    def _about(self, vertex: Vertex, text: str = "") -> None:
        """Write a line about a vertex; as in the plain form, its name stands above a group of its lines."""
        if self._shown != vertex.number:
            if self._shown:
                self._write("")
            self._write(f"#{vertex.number} {vertex.name}")
            self._shown = vertex.number
        if text:
            self._write(f"#{vertex.number} {text}")


@dataclass(slots=True)
class Clock:
    """The times of one vertex's output, and its last line as long as it has no end."""

    started: str = ""
    now: str = ""
    unfinished_line: bytes = b""


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _items(message: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = message.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    # JSON can spell half a surrogate pair, which is no text that could be written anywhere.
    return plain(value.encode(errors="replace").decode()) if isinstance(value, str) else ""


def _time(data: Mapping[str, Any], key: str) -> str:
    return _text(data, key).removesuffix("Z")


def _seconds(start: str, end: str) -> float:
    """The time between two moments, to the millisecond; 0 when they make no sense."""
    try:
        took = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    except (ValueError, TypeError):
        return 0.0
    return round(max(0.0, took.total_seconds()), 3)
