"""How long a registry wants to be left alone: the one thing that the engine does not pass on of its answers."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from workspace_server.engine import RegistryAccess
from workspace_server.errors import SettingsError, SourceError
from workspace_server.images.identity import PullIdentity
from workspace_server.images.manifest import ask

_TOLD_IN = ("retry-after", "ratelimit-reset")


async def seconds_to_wait(identity: PullIdentity, access: RegistryAccess) -> int | None:
    """Ask the image's registry; None when it does not say, does not limit us any more, or cannot be asked from here."""
    with suppress(SourceError, SettingsError, ValueError):
        answer = await ask(identity, access)
        return _told(answer.headers) if answer.status == HTTPStatus.TOO_MANY_REQUESTS else None
    return None


def _told(headers: Mapping[str, str]) -> int | None:
    """Whole seconds from now, from a header that has seconds or a date."""
    value = next((headers[name] for name in _TOLD_IN if name in headers), None)
    if value is None or value.isdecimal():
        return None if value is None else max(1, int(value))
    return max(1, round((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()))
