"""Why something with a Git host failed, and the words for it: foreign failures become errors of this program here."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import assert_never

import httpx

from workspace_server.errors import SourceError, TemplateError, UnavailableError
from workspace_server.process import Completed
from workspace_server.runtimes import Template


class Fault(Enum):
    """Why a repository could not be looked into, as far as the protocol tells."""

    UNREACHABLE = auto()
    """No connection, no answer in time, an answer that makes no sense, or the host's own failure."""
    MISSING = auto()
    """The host says that there is no such repository."""
    HIDDEN = auto()
    """The host says so little to strangers that the repository may be missing or private."""
    DENIED = auto()
    """The host refused the token."""
    NO_REF = auto()
    """The repository is there, what was asked for in it is not."""


class GitFaultError(Exception):
    """A failure that does not know yet for which template it is; ``cause`` completes "the host …" or "git …"."""

    def __init__(self, fault: Fault, cause: str) -> None:
        super().__init__(cause)
        self.fault = fault
        self.cause = cause


def error_of(failure: GitFaultError, template: Template, buildable: Sequence[str]) -> SourceError:
    """The error in its final words; ``buildable`` are the runtimes whose repositories answered last."""
    fault, url, runtime = failure.fault, template.url, template.runtime
    if fault is Fault.UNREACHABLE and url.scheme == "file":
        fault = Fault.MISSING  # a folder has no network that could be at fault
    match fault:
        case Fault.UNREACHABLE:
            return SourceError(
                f"local-build mode: Gitea unreachable at {url.origin} — verify network or set MOLECULE_IMAGE_REGISTRY"
                " to a reachable registry",
                code="git_unreachable",
                hint=f"{failure.cause} (runtime {runtime}, {url})",
            )
        case Fault.MISSING | Fault.HIDDEN:
            return _missing(failure.cause, template, buildable, hidden=fault is Fault.HIDDEN)
        case Fault.DENIED:
            return SourceError(
                f"MOLECULE_GITEA_TOKEN was refused by {url.origin} for the template repository {url} of runtime"
                f" {runtime}",
                code="git_denied",
                hint=f"{failure.cause}; give MOLECULE_GITEA_TOKEN a token that may read this repository",
            )
        case Fault.NO_REF:
            return SourceError(
                f"{_wanted(template)} was not found in the template repository {url} of runtime {runtime}",
                code="template_ref_missing",
                hint=f"{failure.cause}; {_variable('REF', runtime)} names the branch, tag or full commit to use",
            )
        case _:
            assert_never(fault)


def _missing(cause: str, template: Template, buildable: Sequence[str], *, hidden: bool) -> SourceError:
    what = "does not exist or is private" if hidden else "does not exist"
    seen = f"runtimes last seen to be buildable: {', '.join(buildable)}" if buildable else (
        "no runtime was seen to be buildable since the server started"
    )  # fmt: skip
    private = "; if it is private, set MOLECULE_GITEA_TOKEN" if hidden else ""
    return SourceError(
        f"{what}: the template repository {template.url} of runtime {template.runtime}; {seen}",
        code="template_repo_missing",
        hint=f"{cause}; set {_variable('REPO', template.runtime)} to the URL of its repository, or"
        f" MOLECULE_IMAGE_REGISTRY to a registry that has its image{private}",
    )


def _wanted(template: Template) -> str:
    return "a commit at HEAD" if template.ref is None else f"the ref {template.ref}"


def _variable(family: str, runtime: str) -> str:
    return f"MOLECULE_TEMPLATE_{family}_{runtime.upper().replace('-', '_')}"


def malformed(template: Template, commit: str, problem: str) -> TemplateError:
    """The tree of a commit is one that this program does not check out."""
    return TemplateError(
        f"the template of runtime {template.runtime} cannot be used: {problem}",
        code="template_malformed",
        hint=f"change {template.url}, commit {commit}",
    )


def offline(template: Template, commit: str) -> SourceError:
    """The files of a commit are not in the cache, and the host may not be asked for them."""
    return SourceError(
        f"local-build mode: offline, and commit {commit[:12]} of {template.url} for runtime {template.runtime} was"
        " never fetched",
        code="git_offline",
        hint="unset MOLECULE_LOCAL_BUILD_OFFLINE where the Git host can be reached, and build it once",
    )


def git_missing() -> UnavailableError:
    """The git binary is not installed."""
    return UnavailableError(
        "git is not installed, and it moves the template's files from its repository",
        code="tool_missing",
        hint="install it: apt-get install git (Debian, Ubuntu), dnf install git (Fedora), apk add git (Alpine),"
        " brew install git (macOS)",
    )


def no_space(place: Path) -> UnavailableError:
    """The disk under the cache is full."""
    return UnavailableError(
        f"no space left on the disk of the build cache {place}",
        code="no_space",
        hint="make room with: workspace-server images prune; or move the cache with MOLECULE_LOCAL_BUILD_CACHE",
    )


def cache_unusable(place: Path, cause: str) -> UnavailableError:
    """The cache directory cannot hold checkouts."""
    return UnavailableError(
        f"the build cache {place} cannot be used: {cause}",
        code="cache_unusable",
        hint="give the user of this server a writable folder of its own with MOLECULE_LOCAL_BUILD_CACHE",
    )


@contextmanager
def cache_translated(cache: Path) -> Iterator[None]:
    """Failures of the file system under the cache become errors of this program."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(cache) from error
        raise cache_unusable(cache, f"{error.strerror or 'input/output error'} ({error.filename})") from error


# In order: the first class that fits speaks. Every exception of the library is below one of these (tested).
_HTTP_CAUSES: Sequence[tuple[type[Exception], str]] = (
    (httpx.ConnectTimeout, "no connection came about in time"),
    (httpx.TimeoutException, "the host did not answer in time"),
    (httpx.ProxyError, "the proxy did not let the request through"),
    (httpx.ConnectError, "the connection failed"),
    (httpx.NetworkError, "the connection was cut"),
    (httpx.ProtocolError, "the connection was cut, or the answer is not HTTP"),
    (httpx.UnsupportedProtocol, "the URL or the proxy's is not one for HTTP"),
    (httpx.HTTPError, "the answer is not usable"),
    (httpx.InvalidURL, "a URL of the host is not one"),
    (httpx.CookieConflict, "the answer is not usable"),
    (httpx.StreamError, "the answer is not usable"),
)


@contextmanager
def http_translated() -> Iterator[None]:
    """Every exception of the HTTP library becomes a GitFaultError."""
    try:
        yield
    except tuple(kind for kind, _ in _HTTP_CAUSES) as error:
        words = next(words for kind, words in _HTTP_CAUSES if isinstance(error, kind))
        reason = _system_reason(error)
        raise GitFaultError(Fault.UNREACHABLE, f"{words}: {reason}" if reason else words) from error


def _system_reason(error: BaseException) -> str | None:
    """What the operating system said below a library's exception, by number, never by a library's text."""
    below: list[BaseException | None] = [error]
    seen: set[int] = set()
    while below:
        inner = below.pop()
        if inner is None or id(inner) in seen:
            continue
        seen.add(id(inner))
        match inner:
            case socket.gaierror():
                return "the host's name is not known"
            case ssl.SSLCertVerificationError():
                return "its certificate is not trusted"
            case ssl.SSLError():
                return "no common TLS"
            case OSError(errno=int(number)) if number in errno.errorcode:
                return os.strerror(number).lower()
        below += [inner.__context__, inner.__cause__]
        if isinstance(inner, BaseExceptionGroup):
            below += inner.exceptions
    return None


class GitComplaint(Enum):
    """What can be learned from a git command that failed."""

    NO_SPACE = auto()
    TOO_LARGE = auto()
    """Git came to a limit of ours: the most memory, or the longest output."""
    REFUSED = auto()
    """The other side does not hand out the commit that was asked for."""
    OTHER = auto()


# Git ends with 128 whatever happened, so here, and only here, its words count (LC_ALL=C). The first are the C
# library's. The others are sent by the host: git's own, and those of JGit.
_NO_SPACE = re.compile(rb"No space left on device|Disk quota exceeded")
_NO_MEMORY = re.compile(rb"[Oo]ut of memory|Cannot allocate memory")
_REFUSED = re.compile(rb"not our ref|unadvertised object|want [0-9a-f]+ not valid|couldn't find remote ref")


def complaint_of(command: Completed) -> GitComplaint:
    """Why a git command failed."""
    if _NO_SPACE.search(command.stderr):
        return GitComplaint.NO_SPACE
    if command.cut or _NO_MEMORY.search(command.stderr):
        return GitComplaint.TOO_LARGE
    if _REFUSED.search(command.stderr):
        return GitComplaint.REFUSED
    return GitComplaint.OTHER
