"""BuildKit's plain form: ``#5 [2/4] RUN …``, ``#5 0.165 text``, ``#5 DONE 0.2s``."""

import re

from workspace_server.engine.progress import Vertex, VertexDecoder, readable
from workspace_server.model.build import BuildStep

_LINE = re.compile(r"#(?P<key>\d{1,9}) (?P<rest>.*)", re.DOTALL)
_LOG = re.compile(r"\d{1,9}\.\d{1,9} ?(?P<text>.*)", re.DOTALL)
_DONE = re.compile(r"DONE (?P<seconds>\d{1,9}(?:\.\d{1,9})?)s")
_OUTCOME = r"(?:DONE \d{1,9}(?:\.\d{1,9})?s|CANCELED|ERROR: .*)"


class PlainDecoder(VertexDecoder):
    """``--progress=plain``, of buildx and of the docker CLI's own BuildKit."""

    def feed(self, line: bytes) -> list[BuildStep]:
        """Take one line. It is already a line for people."""
        text = readable(line)
        self._write(text)
        match = _LINE.fullmatch(text)
        if match is None:
            self._note_client(text)
            return []
        key, rest = match["key"], match["rest"]
        vertex = self._vertices.get(key)
        if vertex is None:
            return self._begin(self._vertex(key, rest))
        if log := _LOG.fullmatch(rest):
            return self._log(key, vertex, log["text"])
        return self._outcome(vertex, rest)

    def _log(self, key: str, vertex: Vertex, text: str) -> list[BuildStep]:
        # After output without a newline at its end, the client prints the outcome on the same line.
        glued = re.search(rf"#{key} ({_OUTCOME})$", text, re.DOTALL)
        vertex.tail.append(text[: glued.start()] if glued else text)
        return self._outcome(vertex, glued[1]) if glued else []

    def _outcome(self, vertex: Vertex, text: str) -> list[BuildStep]:
        if done := _DONE.fullmatch(text):
            return self._end(vertex, seconds=float(done["seconds"]))
        if text == "CACHED":
            return self._end(vertex, cached=True, seconds=0.0)
        if text.startswith("ERROR: "):
            return self._end(vertex, error=text.removeprefix("ERROR: "))
        vertex.ended = vertex.ended or text == "CANCELED"
        return []
