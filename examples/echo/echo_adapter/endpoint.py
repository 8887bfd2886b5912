"""The HTTP server other programs talk to: the agent card, `GET /health`, and A2A messages at `POST /`."""

import logging
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from . import a2a
from .settings import Settings
from .work import Work

log = logging.getLogger(__name__)

BODY_LIMIT = 1024 * 1024
DISCARD_LIMIT = 8 * BODY_LIMIT


class Endpoint(ThreadingTCPServer):
    """Listens from the moment it is made; answers once `serve_forever` runs."""

    # Not http.server's HTTPServer: that one asks DNS for its own name before it listens.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        *,
        settings: Settings,
        skills: list[dict[str, object]],
        answer: Callable[[str], str],
        work: Work,
    ) -> None:
        super().__init__(("", settings.port), _Exchange)  # all addresses: the container has one
        self.url = f"http://{settings.hostname}:{self.server_address[1]}"
        self.card = a2a.agent_card(about=settings.about, url=self.url, skills=skills)
        self.answer = answer
        self.work = work

    def handle_error(self, request: object, client_address: object) -> None:
        """Log one line, not a traceback as the standard library does: mostly the caller just went away."""
        log.warning("a connection broke: %r", sys.exception())


class _Exchange(BaseHTTPRequestHandler):
    """One connection; `do_<method>` is called for each request on it."""

    server: Endpoint
    protocol_version = "HTTP/1.1"
    server_version = "echo"
    sys_version = ""
    timeout = 30  # seconds of silence, then the connection is closed
    disable_nagle_algorithm = True  # head and body are two writes; the second must not wait for the first's receipt

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body nobody reads here must not pass for the next request
        match self.path.partition("?")[0]:
            case "/.well-known/agent-card.json" | "/.well-known/agent.json":  # the second is the older name
                self._send(HTTPStatus.OK, a2a.to_json(self.server.card))
            case "/health":
                self._send(HTTPStatus.OK, a2a.to_json({"status": "ok"}))
            case "/":
                self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "messages are sent with POST")
            case _:
                self.send_error(HTTPStatus.NOT_FOUND, "not found")

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND, "not found: messages are sent to /")
            return
        try:
            message = a2a.parse(body)
        except a2a.RpcError as error:
            log.warning("a request was refused: %s %s", error.code, error)
            self._send(HTTPStatus.OK, a2a.failure(error))  # JSON-RPC: the error is in the body, the exchange is fine
            return
        with self.server.work.task(message.text):
            self._send(HTTPStatus.OK, self._answer(message))

    def _answer(self, message: a2a.Message) -> bytes:
        try:
            text = self.server.answer(message.text)
        except Exception as error:  # whatever goes wrong in an agent, its caller gets an answer
            log.exception("the agent failed")
            self.server.work.failed(f"{type(error).__name__}: {error}")
            return a2a.failure(a2a.RpcError(a2a.INTERNAL_ERROR, "the agent failed: see its log", message.request_id))
        self.server.work.succeeded()
        # Lengths, not texts: people tell agents secrets.
        log.info("answered a message of %d characters with %d", len(message.text), len(text))
        return a2a.reply(message, text)

    def _body(self) -> bytes | None:
        """Read the request's body; None if it was refused, and that said."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "a body needs its Content-Length, and is not sent in chunks")
            return None
        if int(length) > BODY_LIMIT:
            # Read and dropped up to a point: most clients look for the answer only when all is sent.
            self._discard(min(int(length), DISCARD_LIMIT))
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {BODY_LIMIT} bytes")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.send_error(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
            return None
        return body

    def _discard(self, length: int) -> None:
        while length > 0 and (chunk := self.rfile.read(min(length, 65536))):
            length -= len(chunk)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As in the standard library, which calls this too; but JSON, and the connection ends here."""
        self.close_connection = True
        self._send(code, a2a.to_json({"error": message or explain or HTTPStatus(code).phrase}))

    def log_message(self, *_: object) -> None:
        """Say nothing: the probes alone would fill the log. Events are logged where they happen."""
