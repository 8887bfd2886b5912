"""What a client asked of the Git server, told apart by what git would answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from urllib.parse import unquote

_VERSION = re.compile(r"(?:^|:)version=(\d)")
_URL = re.compile(r"^/(?P<repository>.+?)(?:\.git)?/(?P<service>info/refs|git-upload-pack|git-receive-pack)$")

Where = Literal["any", "info/refs", "upload-pack", "refs", "ls-refs", "fetch"]
"""Which requests a fault is for: any; the GET of info/refs; any POST to upload-pack; those whose answer lists refs; the
POST that asks for refs (protocol v2); the POSTs that ask for a pack."""


class Kind(StrEnum):
    """What a request is for."""

    REFS = "refs"  # GET info/refs under v0 and v1: the answer lists the refs
    CAPABILITIES = "capabilities"  # GET info/refs under v2: the answer lists no refs
    LS_REFS = "ls-refs"  # POST under v2: the answer lists the refs
    FETCH = "fetch"  # POST that wants a pack; one fetch may take several
    OTHER = "other"


@dataclass(slots=True, kw_only=True)
class RecordedRequest:
    """One request, recorded when it arrived; the last four fields are filled in while it is answered."""

    method: str
    path: str  # as sent, without query
    repository: str  # ``owner/name`` without ``.git``; empty when the path is no repository's
    service: str  # ``info/refs``, ``git-upload-pack``, ``git-receive-pack`` or empty
    query: str
    headers: Mapping[str, str]  # case-insensitive
    body: bytes = field(repr=False)
    protocol: int  # what the server speaks with this client: 0, 1 or 2
    kind: Kind

    status: int | None = None  # None: the connection was closed before a status line
    authorized: bool | None = None  # None: no token was asked for
    complete: bool = False  # the whole answer was given to the connection
    sent_pack: bool = False  # the answer had a pack in it

    def matches(self, where: Where) -> bool:
        """Tell whether a fault for ``where`` is for this request."""
        match where:
            case "any":
                return True
            case "info/refs":
                return self.service == "info/refs"
            case "upload-pack":
                return self.service == "git-upload-pack"
            case "refs":
                return self.kind in (Kind.REFS, Kind.LS_REFS)
            case "ls-refs":
                return self.kind is Kind.LS_REFS
            case "fetch":
                return self.kind is Kind.FETCH


def split_path(path: str) -> tuple[str, str]:
    """Return repository and service of a request's path; both empty when it is no path of the smart protocol."""
    match = _URL.match(unquote(path))
    return (match["repository"], match["service"]) if match else ("", "")


def protocol_asked(headers: Mapping[str, str]) -> int:
    """Return the protocol version a client asks for; 0 when it does not say."""
    match = _VERSION.search(headers.get("Git-Protocol", ""))
    return int(match[1]) if match else 0


def kind_of(*, method: str, service: str, protocol: int, body: bytes) -> Kind:
    """Tell what a request is for; ``body`` is not compressed."""
    if method == "GET" and service == "info/refs":
        return Kind.CAPABILITIES if protocol == 2 else Kind.REFS
    if method == "POST" and service == "git-upload-pack":
        if body[4:].startswith(b"command=ls-refs"):
            return Kind.LS_REFS
        if body[4:].startswith((b"command=fetch", b"want ")):
            return Kind.FETCH
    return Kind.OTHER
