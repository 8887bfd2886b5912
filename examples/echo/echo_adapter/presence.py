"""Being known to the workspace server: register once, then heartbeats; and the token both are sent with."""

import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from . import a2a
from .settings import Settings
from .work import Work

log = logging.getLogger(__name__)

ANSWER_LIMIT = 64 * 1024
FIRST_DELAYS = (0.5, 1, 2, 4, 8, 16)
LONGEST_DELAY = 30
REDIRECTS = range(300, 400)


class CallError(Exception):
    """The server cannot be reached or refuses; the text is for the log and holds no secret."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Token:
    """The bearer token in `/configs/.auth_token`. Its value appears in requests and nowhere else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.value = ""

    def read(self) -> bool:
        """Read the file, which may not exist yet; say whether the token is another one now."""
        try:
            text = self._path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            text = ""
        except OSError as error:
            log.warning("%s cannot be read (%s)", self._path, error.strerror)
            return False
        if text and not is_token(text):
            log.warning("%s holds no token: going on without", self._path)
            text = ""
        before, self.value = self.value, text
        return self.value != before

    def save(self, value: str) -> None:
        """Keep a token the server has sent: for later requests, and for the next start of this container."""
        self.value = value
        try:
            # A new file beside the old one, mode 0600: whoever reads in between gets one token or the other, whole.
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".auth_token.")
            with os.fdopen(handle, "w") as file:
                file.write(value)
            Path(name).replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written (%s): the next start will lack the new token", self._path, error.strerror)
        else:
            log.info("the server sent a new token: saved to %s", self._path)


def is_token(text: str) -> bool:
    """Say whether this can stand in a header; an error from the HTTP library would quote it."""
    return re.fullmatch(r"[!-~]{1,4096}", text) is not None


class Presence:
    """Keeps the workspace server informed, in one thread, until the process stops."""

    def __init__(self, *, settings: Settings, url: str, card: dict[str, object], work: Work) -> None:
        self._settings = settings
        self._url = url
        self._card = card
        self._work = work
        self._token = Token(settings.configs / ".auth_token")
        self._started = time.monotonic()
        self._heard = False

    def run(self, stop: Event) -> None:
        """Register, then send a heartbeat now and in every interval, until told to stop."""
        self._token.read()
        for delay in _delays():
            if stop.is_set() or self._register(delay):
                break
            stop.wait(delay)
        while not stop.is_set():
            self._heartbeat()
            stop.wait(self._settings.heartbeat_seconds)

    def _register(self, delay: float) -> bool:
        """Say where this agent is and what it can do. False: try again after the delay."""
        body: dict[str, object] = {"id": self._settings.workspace_id, "url": self._url, "agent_card": self._card}
        try:
            answer = self._call_as_known("/registry/register", body)
        except CallError as error:
            log.warning("not registered: %s; next try in %g s", error, delay)
            return False
        log.info("registered as %s, reachable at %s", self._settings.workspace_id, self._url)
        token = answer.get("auth_token")
        if isinstance(token, str) and is_token(token) and token != self._token.value:
            self._token.save(token)
        return True

    def _heartbeat(self) -> None:
        body: dict[str, object] = {
            "workspace_id": self._settings.workspace_id,
            "uptime_seconds": int(time.monotonic() - self._started),
            **self._work.report(),
        }
        try:
            self._call_as_known("/registry/heartbeat", body)
        except CallError as error:
            self._heard = False
            log.warning("heartbeat failed: %s; next in %g s", error, self._settings.heartbeat_seconds)
            return
        if not self._heard:  # the first, and the first after a failure: the others say nothing new
            self._heard = True
            log.info("heartbeat accepted, one every %g s", self._settings.heartbeat_seconds)

    def _call_as_known(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """Call; after a 401 once more, if the token file holds another token by now: the server may have renewed it."""
        try:
            return self._call(path, body)
        except CallError as error:
            if error.status != HTTPStatus.UNAUTHORIZED or not self._token.read():
                raise
        log.info("the token was refused, and the file holds a new one: trying with that")
        return self._call(path, body)

    def _call(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """POST to the workspace server and return its JSON object. Raises CallError."""
        address = self._settings.platform_url
        try:
            status, text = self._post(path, a2a.to_json(body))
        except (OSError, HTTPException, UnicodeError) as error:
            raise CallError(f"{address} cannot be reached ({str(error) or type(error).__name__})") from None
        answer = _json_object(text)
        if status != HTTPStatus.OK:
            raise CallError(self._refusal(status, answer or {}), status)
        if answer is None:
            raise CallError(f"{address} answers, but not as a workspace server: check PLATFORM_URL")
        return answer

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        # http.client, because it follows no redirect: that would take the token to another address.
        address = urlsplit(self._settings.platform_url)
        connect = HTTPSConnection if address.scheme == "https" else HTTPConnection
        headers = {"Content-Type": "application/json"}
        if self._token.value:
            headers["Authorization"] = f"Bearer {self._token.value}"
        with closing(connect(address.netloc, timeout=self._settings.timeout_seconds)) as connection:
            connection.request("POST", address.path + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_LIMIT)

    def _refusal(self, status: int, answer: dict[str, object]) -> str:
        """Say what the server says, in its own words."""
        text = f"the server says {status} {answer.get('error') or responses.get(status, '')}"
        if status in REDIRECTS:
            text += ": redirects are not followed, check PLATFORM_URL"
        if answer.get("hint"):
            text += f" (hint: {answer['hint']})"
        text = text.replace(self._token.value, "***") if self._token.value else text
        return text[:500]


def _delays() -> Iterator[float]:
    return chain(FIRST_DELAYS, repeat(LONGEST_DELAY))


def _json_object(text: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
