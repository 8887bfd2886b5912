"""Structured logs: one event a line, for people on a terminal and as JSON elsewhere, secrets masked in the sink."""

import logging
import sys
from collections.abc import Iterable
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"


class MaskSecrets:
    """A processor that replaces every known secret value, the longest first, in everything that is logged."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask one event."""
        return {key: self.mask(value) for key, value in event.items()} if self._secrets else event

    def mask(self, value: object) -> object:
        """``value`` without secrets: strings and containers are searched, other objects by their text."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, dict):
            return {key: self.mask(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.mask(item) for item in value]
        if isinstance(value, int | float | bool | None):
            return value
        return self.mask(str(value))


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
