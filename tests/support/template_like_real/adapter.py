"""A workspace agent that behaves on the wire as the packaged runtime 0.1.2 does, and echoes every message."""

import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

log = logging.getLogger("adapter")

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, PARSE_ERROR = -32600, -32601, -32602, -32700


class Adapter:
    """One agent: what it knows of itself, its token, and its calls to the server."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.id = environment.get("WORKSPACE_ID", "workspace-default")
        self.platform = environment.get("PLATFORM_URL", "http://platform:8080").rstrip("/")
        self.interval = float(environment.get("HEARTBEAT_INTERVAL", "30"))
        self.port = int(environment.get("PORT", "8000"))
        self.token_file = Path(environment.get("CONFIGS_DIR", "/configs")) / ".auth_token"
        self.config = _top_level(Path(environment.get("WORKSPACE_CONFIG_PATH", "/configs")) / "config.yaml")
        self.url = f"http://{environment.get('HOSTNAME') or socket.gethostname()}:{self.port}"
        self.token = self.token_file.read_text() if self.token_file.exists() else ""
        self.started = time.monotonic()
        self.stopping = threading.Event()
        self._direct = build_opener(ProxyHandler({}))  # the server is never behind a proxy

    @property
    def card(self) -> dict[str, Any]:
        """The agent card, as served and as registered."""
        return {
            "name": self.config.get("name", "agent"),
            "description": self.config.get("description", ""),
            "version": self.config.get("version", "1.0.0"),
            "url": self.url,
            "skills": [{"id": "echo", "name": "echo", "description": "Repeats a message", "tags": ["echo"]}],
            "capabilities": {"streaming": True, "pushNotifications": False},
        }

    def register(self) -> None:
        """Register once and save a new token; whatever fails is logged and never tried again."""
        body = {"id": self.id, "url": self.url, "agent_card": self.card}
        status, answer = self._call("POST", "/registry/register", body)
        if status != 200:
            log.info("register: status %s", status)
            return
        token = answer.get("auth_token") if isinstance(answer, dict) else None
        if token and token != self.token:
            self._save(str(token))
        log.info("registered as %s", self.id)

    def beat_for_ever(self) -> None:
        """Send a heartbeat and look for delegations, at once and then in every interval."""
        while True:
            beat = {
                "workspace_id": self.id,
                "error_rate": 0.0,
                "sample_error": "",
                "active_tasks": 0,
                "current_task": "",
                "uptime_seconds": int(time.monotonic() - self.started),
            }
            status, _ = self._call("POST", "/registry/heartbeat", beat)
            log.info("heartbeat: status %s", status)
            self._call("GET", f"/workspaces/{self.id}/delegations")
            if self.stopping.wait(self.interval):
                return

    def answer(self, request: Any) -> dict[str, Any]:
        """Return the JSON-RPC answer to a request; a version 0.3 message, or an error."""
        if not isinstance(request, dict):
            return _error(None, INVALID_REQUEST, "Invalid Request")
        number, params = request.get("id"), request.get("params")
        if request.get("method") not in ("message/send", "message/stream"):
            return _error(number, METHOD_NOT_FOUND, "Method not found")
        message = params.get("message") if isinstance(params, dict) else None
        if number is None or not isinstance(message, dict) or not message.get("messageId"):
            return _error(number, INVALID_PARAMS, "Invalid params")
        parts = message.get("parts") or []
        text = "".join(part.get("text", "") for part in parts if "text" in (part.get("kind"), part.get("type")))
        result = {
            "kind": "message",
            "messageId": str(uuid.uuid4()),
            "role": "agent",
            "parts": [{"kind": "text", "text": f"echo: {text}"}],
            "contextId": message.get("contextId") or str(uuid.uuid4()),
        }
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _save(self, token: str) -> None:
        self.token = token
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(token)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int | None, Any]:
        """Return status and JSON body; None when there was no answer, and no body when it is no JSON."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.platform + path, data=data, headers=headers, method=method)
        try:
            with self._direct.open(request, timeout=10) as response:
                return response.status, _json(response.read())
        except (URLError, OSError) as error:
            status = getattr(error, "code", None)
            if status is None:
                log.info("%s %s: %s", method, path, error)
            return status, None


class Endpoint(BaseHTTPRequestHandler):
    """The agent's own HTTP side."""

    protocol_version = "HTTP/1.1"
    adapter: Adapter

    def do_GET(self) -> None:
        """Serve the card and the transcript; there is no health page."""
        path = urlsplit(self.path).path
        match path:
            case "/.well-known/agent-card.json" | "/.well-known/agent.json":
                self._send(200, self.adapter.card)
            case "/":
                self._send(405, {"detail": "Method Not Allowed"})
            case "/transcript":
                self._transcript()
            case _:
                self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Answer one JSON-RPC request; the status is 200 also for its errors."""
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if urlsplit(self.path).path != "/":
            self._send(404, {"detail": "Not Found"})
            return
        try:
            request = json.loads(raw)
        except ValueError:
            self._send(200, _error(None, PARSE_ERROR, "Parse error"))
            return
        answer = self.adapter.answer(request)
        if isinstance(request, dict) and request.get("method") == "message/stream":
            self._write(200, "text/event-stream", b"data: " + _compact(answer) + b"\n\n")
        else:
            self._send(200, answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log a request like everything else."""
        log.info("request: " + format, *args)  # noqa: G003

    def _transcript(self) -> None:
        token = self.adapter.token
        if not token or self.headers.get("Authorization") != f"Bearer {token}":
            self._send(401, {"detail": "Unauthorized"})
            return
        runtime = self.adapter.config.get("runtime", "")
        nothing = {"supported": False, "lines": [], "cursor": 0, "more": False, "source": None}
        self._send(200, {"runtime": runtime, **nothing})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        self._write(status, "application/json", _compact(body))

    def _write(self, status: int, content_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """Answers requests side by side; none of them keeps the process alive."""

    daemon_threads = True


def main() -> None:
    """Register, start the heartbeats, and serve until SIGTERM."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    # As process 1 of a container Python would ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    adapter = Adapter(dict(os.environ))
    Endpoint.adapter = adapter
    adapter.register()
    threading.Thread(target=adapter.beat_for_ever, daemon=True).start()
    with Server(("0.0.0.0", adapter.port), Endpoint) as server:
        log.info("serving on port %s", adapter.port)
        server.serve_forever()


def _top_level(path: Path) -> dict[str, str]:
    """Return the plain top-level values of a YAML file; without the file the agent cannot start, as in the original."""
    if not path.exists():
        sys.exit(f"{path} is missing")
    found = re.findall(r"^(\w+):[ \t]+(\S.*?)[ \t]*$", path.read_text(), re.MULTILINE)
    return {key: value.strip("'\"") for key, value in found}


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def _compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


if __name__ == "__main__":
    main()
