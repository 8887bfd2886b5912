"""What containers write: their last lines, or everything as it comes."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from workspace_server.concurrency import Deadline
from workspace_server.engine.connection import SLOW, Connection

LARGEST_LOG = 1024 * 1024
LONGEST_LINE = 64 * 1024
_HEADER = 8


class Logs:
    """What ``Engine`` can tell of containers' output. Every method raises UnavailableError and NotFoundError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def logs_tail(self, container_id: str, lines: int) -> str:
        """The last lines of a container's stdout and stderr, as they came, at most the last MiB of them.

        Raises DeadlineError.
        """
        kept, frames = bytearray(), Frames()
        operation = f"read the log of the container {container_id[:12]}"
        async with (
            Deadline(SLOW).limit(operation),
            self._connection.stream(
                "GET", f"containers/{container_id}/logs", operation=operation, params=_params(lines)
            ) as body,
        ):
            async for chunk in body.iter_any():
                for _, text in frames.feed(chunk):
                    kept += text
                    del kept[:-LARGEST_LOG]
        return kept.decode(errors="replace")

    async def follow_log(self, container_id: str, lines: int) -> AsyncGenerator[str, None]:
        """The last lines of a container's output and each further one as it is written, until the container ends.

        A line of more than 64 KiB comes in pieces.
        """
        operation = f"follow the log of the container {container_id[:12]}"
        params = _params(lines) | {"follow": "1"}
        path = f"containers/{container_id}/logs"
        frames, begun = Frames(), dict[int, bytes]()  # of each stream: the line that it is at
        async with self._connection.stream("GET", path, operation=operation, params=params) as body:
            async for chunk in body.iter_any():
                for stream, text in frames.feed(chunk):
                    *ended, begun[stream] = (begun.get(stream, b"") + text).split(b"\n")
                    for line in ended:
                        yield line.decode(errors="replace")
                    if len(begun[stream]) > LONGEST_LINE:
                        yield begun.pop(stream).decode(errors="replace")
        for line in begun.values():
            if line:
                yield line.decode(errors="replace")


class Frames:
    """Undoes the engine's framing: 8 bytes of header, which stream first and the length in the last 4, then text.

    What was cut off is kept as far as it goes.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The texts in the next bytes, each with its stream: 1 is stdout, 2 is stderr."""
        position = 0
        while position < len(chunk):
            wanted = self._left or _HEADER - len(self._header)
            part = chunk[position : position + wanted]
            position += len(part)
            if self._left:
                self._left -= len(part)
                yield self._stream, part
            else:
                self._header += part
                if len(self._header) == _HEADER:
                    self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                    self._header = b""


def _params(lines: int) -> dict[str, Any]:
    return {"stdout": "1", "stderr": "1", "tail": str(lines)}
