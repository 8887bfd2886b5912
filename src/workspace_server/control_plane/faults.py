"""Why a call to the control plane failed, and the words for it: foreign failures become errors of this program here."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx

from workspace_server.errors import SourceError, UnavailableError
from workspace_server.text import plain, shortened

_LONGEST_WORDS = 500
_HINT = "check MOLECULE_CP_URL (or CP_PROVISION_URL) and the control plane; wishes wait and go on by themselves"

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


class LostError(Exception):
    """A call of which nobody can say what came of it. ``sent``: the control plane may have acted on it."""

    def __init__(self, cause: str, *, sent: bool = True) -> None:
        super().__init__(cause)
        self.cause = cause
        self.sent = sent


class RefusedError(SourceError):
    """The control plane understood a call, and refuses it: with which HTTP status, and in which words."""

    def __init__(self, what: str, status_code: int, words: str) -> None:
        super().__init__(
            f"the control plane refused to {what} (HTTP {status_code}): {words}",
            code="control_plane_refused",
            hint="MOLECULE_CP_SHARED_SECRET must be the control plane's, and ADMIN_TOKEN this tenant's"
            if status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
            else "see to what it says there, then restart the workspace",
        )
        self.status_code = status_code


@contextmanager
def translated() -> Iterator[None]:
    """Failures of the HTTP library become LostError."""
    try:
        yield
    except _NEVER_SENT as error:
        raise LostError("it cannot be reached", sent=False) from error
    except httpx.TimeoutException as error:
        raise LostError("it did not answer in time") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise LostError("the connection broke before the answer was complete") from error
    except (httpx.InvalidURL, httpx.CookieConflict) as error:
        raise LostError("its address cannot be used", sent=False) from error


def unavailable(what: str, fault: LostError) -> UnavailableError:
    """The control plane could not say whether it did what it was asked for, or is away."""
    return UnavailableError(
        f"the control plane could not {what}: {fault.cause}", code="control_plane_unavailable", hint=_HINT
    )


def instance_unknown(cause: str) -> UnavailableError:
    """A machine was asked for, and nobody knows whether it was made."""
    return UnavailableError(
        f"it is not known whether the control plane started the workspace's machine: {cause}",
        code="instance_unknown",
        hint="it is asked again by itself until it says so; nothing is started twice",
    )


def refusal_words(body: bytes, hidden: Collection[str]) -> str:
    """What a refusal says in its field ``error``, fit to be shown and without what is ``hidden``; else how long it is.

    Nothing else of it is repeated: it may hold the credentials and secrets that it answers to.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    words = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(words, str) or not words.strip():
        return f"<unstructured body, {len(body)} bytes>"
    # Once before and once after: a control character in the middle of a secret is no hiding-place.
    shown = _without(plain(_without(words, hidden)), hidden)
    return shortened(" ".join(shown.split()), _LONGEST_WORDS)


def _without(text: str, hidden: Collection[str]) -> str:
    forms = {form for value in hidden if value for form in (value, json.dumps(value)[1:-1], quote(value, safe=""))}
    forms |= {" ".join(form.split()) for form in forms}
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = text.replace(form, "***")
    return text
