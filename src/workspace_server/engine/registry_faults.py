"""Why a registry did not give an image, in this program's words.

The engine answers 404 for "missing" and for "denied", 500 for a registry's 401, 404 and 429 and for every failure of
the network, and in a stream it has no status at all: only the registry's own words, which it repeats, tell them apart.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import aiodocker

from workspace_server.engine.credentials import Credentials
from workspace_server.engine.faults import NO_CONNECTION, answer_of, no_space
from workspace_server.errors import SourceError

_RETRY_AFTER = re.compile(
    r"retry[- ]after:? (?P<duration>(?:[0-9.]+(?:h|m(?!s)|s|ms|µs|us|ns))+|[0-9]+)", re.IGNORECASE
)
_DURATION = re.compile(r"(?P<number>[0-9.]+)(?P<unit>h|ms|m|s|µs|us|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """What the engine said of an image: its status, the registry's answer as one line, the same in lower case."""

    status: int
    reference: str
    answer: str
    text: str
    origin: str

    @property
    def registry(self) -> str:
        return registry_of(self.reference)

    @property
    def asked(self) -> str:
        return f"{self.answer} (asked with {self.origin})"


class RateLimitedError(SourceError):
    """A registry is asked too often. ``seconds``: when it may be asked again, as far as its own words tell."""

    def __init__(self, reference: str, asked: str, seconds: int | None) -> None:
        wait = f"it may be asked again in {seconds} s" if seconds is not None else "for how long is not known"
        super().__init__(
            f"the registry {registry_of(reference)} limits how often it is asked, and did not give the image "
            f"{reference}; {wait}: {asked}",
            code="registry_rate_limited",
            hint="wait and create the workspace again; many registries allow more to those who show credentials",
        )
        self.seconds = seconds
        self._asked = reference, asked

    def until(self, seconds: int) -> "RateLimitedError":
        """The same, with the time to wait."""
        return RateLimitedError(*self._asked, seconds)


def registry_fault(reference: str, error: BaseException | None, credentials: Credentials) -> SourceError | None:
    """The error for ``reference``; None when ``error`` is not about the registry. It never shows the credentials."""
    if not isinstance(error, aiodocker.DockerError) or error.status == NO_CONNECTION or no_space(str(error.message)):
        return None
    return refused(reference, error.status, answer_of(error), credentials)


def refused(reference: str, status: int, answer: str, credentials: Credentials) -> SourceError:
    """The error for an answer that is none of the image; it never shows the credentials."""
    answer = credentials.masked(answer)
    refusal = _Refusal(
        status=status, reference=reference, answer=answer, text=answer.lower(), origin=credentials.origin
    )
    return next(fault(refusal) for applies, fault in _FAULTS if applies(refusal))


def unanswered(reference: str, reason: str) -> SourceError:
    """A registry that this server itself asks, past the engine, gave no answer that tells anything of the image."""
    registry = registry_of(reference)
    return SourceError(
        f"the registry {registry} could not be asked for the image {reference}: {reason}",
        code="registry_unreachable",
        hint="check that this server reaches the registry, and trusts its certificate: SSL_CERT_FILE, or "
        f"/etc/docker/certs.d/{registry}/ca.crt",
    )


def registry_of(reference: str) -> str:
    """The registry that a reference names, by the rule of the docker reference grammar."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "Docker Hub"


def wrong_platform(reference: str, wanted: str, found: str) -> SourceError:
    """The registry has the image, but not for the wanted platform; ``found`` says what it has."""
    return SourceError(
        f"the registry {registry_of(reference)} has the image {reference}, but not for {wanted}: {found}",
        code="image_platform_mismatch",
        hint="push the image for this platform, or set MOLECULE_IMAGE_PLATFORM to one that it is there for",
    )


def _says(*words: str, statuses: tuple[int, ...] = ()) -> Callable[[_Refusal], bool]:
    return lambda refusal: refusal.status in statuses or any(word in refusal.text for word in words)


def _limited(refusal: _Refusal) -> SourceError:
    return RateLimitedError(refusal.reference, refusal.asked, retry_after(refusal.answer))


def _denied(refusal: _Refusal) -> SourceError:
    return SourceError(
        f"the registry {refusal.registry} refused to give the image {refusal.reference}: {refusal.asked}",
        code="registry_denied",
        hint="check the image's name and the credentials; to those who may not read it, an image that does not exist "
        "is denied as well",
    )


def _other_platform(refusal: _Refusal) -> SourceError:
    platform = re.search(r"no matching manifest for (\S+)", refusal.answer)
    return wrong_platform(refusal.reference, platform[1] if platform else "this platform", refusal.answer)


def _missing(refusal: _Refusal) -> SourceError:
    newest = "; a restart of the workspace runs the newest one" if "@" in refusal.reference else ""
    return SourceError(
        f"the registry {refusal.registry} has no image {refusal.reference}: {refusal.asked}",
        code="image_not_found",
        hint=f"push the image there, or correct MOLECULE_IMAGE_REGISTRY{newest}",
    )


def _broken(refusal: _Refusal) -> SourceError:
    return SourceError(
        f"the image {refusal.reference} in the registry {refusal.registry} is incomplete or damaged: {refusal.answer}",
        code="image_corrupted",
        hint="push the image again; when a proxy is in between, it may be what damages it",
    )


def _unreachable(refusal: _Refusal) -> SourceError:
    return SourceError(
        f"the image {refusal.reference} could not be pulled from the registry {refusal.registry}: {refusal.asked}",
        code="registry_unreachable",
        hint="check that the engine reaches the registry and trusts its certificate, or set another one with "
        "MOLECULE_IMAGE_REGISTRY",
    )


_FAULTS: tuple[tuple[Callable[[_Refusal], bool], Callable[[_Refusal], SourceError]], ...] = (
    (_says("toomanyrequests", "too many requests", "rate limit", statuses=(429,)), _limited),
    (_says("denied", "unauthorized", "authentication req", "no basic auth", "forbidden", statuses=(401, 403)), _denied),
    (_says("no matching manifest", "does not match the specified platform"), _other_platform),
    (
        _says(
            "verification failed", "unknown blob", "unexpected commit digest", "failed to register layer", "tar header"
        ),
        _broken,
    ),
    (_says("not found", "manifest unknown", "name unknown", statuses=(404,)), _missing),
    (lambda _: True, _unreachable),
)
"""The first that applies counts."""


def retry_after(answer: str) -> int | None:
    """The whole seconds that a registry asks to wait, when it says so; at least one."""
    match = _RETRY_AFTER.search(answer)
    if match is None:
        return None
    duration = match["duration"]
    if duration.isdigit():
        return max(1, int(duration))
    parts = _DURATION.finditer(duration)
    return max(1, math.ceil(sum(float(part["number"]) * _SECONDS[part["unit"]] for part in parts)))
