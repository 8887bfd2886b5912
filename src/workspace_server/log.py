"""Structured logs: one event a line, for people on a terminal and as JSON elsewhere, secrets masked in the sink."""

import base64
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from workspace_server.text import plain

MASK = "***"

_LEAST_IN_BASE64 = 6  # bytes: the digits of fewer may stand in any text
_FOR_URLS = str.maketrans("+/", "-_")
_ITS_END = "[A-Za-z0-9+/_-]?={0,2}"  # the digit that the secret shares with what follows it, and the filling


def for_terminals(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A processor that leaves nothing in an event that a terminal would obey, and lets no text look like an event."""
    shown = {key: plain(value) if isinstance(value, str) else value for key, value in event.items()}
    shown["event"] = str(shown["event"]).replace("\n", "\\n")
    return shown


class MaskSecrets:
    """A processor that replaces every known secret value, the longest first, in everything that is logged.

    Also where it is quoted, as in a URL, and where base64 has made digits of it, as in a header with credentials.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        written = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        inside = {digits for secret in secrets for digits in _base64_forms(secret)}
        patterns = [re.escape(form) for form in written] + [f"{re.escape(digits)}{_ITS_END}" for digits in inside]
        self._known = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask one event."""
        return {key: self.mask(value) for key, value in event.items()} if self._known else event

    def mask(self, value: object) -> object:
        """``value`` without secrets: strings and containers are searched, other objects by their text."""
        if isinstance(value, str):
            return value if self._known is None else self._known.sub(MASK, value)
        if isinstance(value, dict):
            return {self.mask(key): self.mask(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.mask(item) for item in value]
        if isinstance(value, int | float | bool | None):
            return value
        return self.mask(str(value))


def _forms(secret: str) -> set[str]:
    """The ways in which a secret is written; none for an empty one."""
    return {secret, quote(secret, safe=""), repr(secret)[1:-1]} if secret else set()


def _base64_forms(secret: str) -> Iterator[str]:
    raw = secret.encode(errors="surrogateescape")
    if len(raw) >= _LEAST_IN_BASE64:
        for offset in range(3):
            yield from _inside_base64(raw, offset)


def _inside_base64(raw: bytes, offset: int) -> Iterator[str]:
    """The digits that say ``raw`` alone, when ``offset`` bytes, modulo 3, stand before it; in both alphabets."""
    digits = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
    shared_before, shared_after = (0, 2, 3)[offset], 1 if (offset + len(raw)) % 3 else 0
    digits = digits[shared_before : len(digits) - shared_after]
    yield digits
    yield digits.translate(_FOR_URLS)


def configure_logging(
    *,
    form: Literal["auto", "human", "json"] = "auto",
    level: str = "info",
    secrets: Iterable[str] = (),
    stream: TextIO = sys.stderr,
) -> None:
    """Send structlog's and the standard library's logs to ``stream`` in one form."""
    human = form == "human" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=not human)
        if not human
        else structlog.processors.TimeStamper("%H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
        MaskSecrets(secrets),
        *([for_terminals] if human else []),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        if human
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "aiosqlite", "alembic", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
