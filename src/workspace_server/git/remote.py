"""Git's smart HTTP protocol, as much of it as a look-up needs: one ``GET info/refs`` in protocol v0."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from workspace_server.certificates import trusted
from workspace_server.git.environment import GitAccess, origin
from workspace_server.git.faults import Fault, GitFaultError, http_translated
from workspace_server.git.refs import HEAD, RefsError, RefsParser, Search
from workspace_server.model.repository import RepositoryUrl

CONNECT_SECONDS = 5
LOOK_UP_SECONDS = 30
MAX_REDIRECTS = 5
MAX_BYTES = 32 * 1024 * 1024  # a list of some 400,000 refs; the largest hosts' largest repositories have about as many
REST_SECONDS = 0.05  # for the rest of an answer that is known already

_SUFFIX = "/info/refs?service=git-upload-pack"
_MEDIA_TYPE = "application/x-git-upload-pack-advertisement"
_SHORT = 16 * 1024

_HEADERS = {
    "User-Agent": "git/2 (workspace-server)",  # some hosts serve info/refs to git's name only
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # so that the limit counts what is parsed
    "Pragma": "no-cache",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """What a look-up found: the commit, the full name of its ref, and the URL at which redirects ended."""

    commit: str
    ref: str
    url: RepositoryUrl


@asynccontextmanager
async def open_http_client(access: GitAccess) -> AsyncIterator[httpx.AsyncClient]:
    """The one HTTP client of all look-ups: making it costs more than a look-up. Raises SettingsError.

    It trusts the certificates the operator named, else the system's and those of the HTTP library, asks a proxy for
    other machines only, follows no redirect and keeps no cookie.
    """
    client = httpx.AsyncClient(
        verify=trusted(access.certificate_file, access.certificate_directory),
        timeout=httpx.Timeout(LOOK_UP_SECONDS, connect=CONNECT_SECONDS),
        follow_redirects=False,
        mounts={"http://": None},  # http is for this machine only: a proxy would be told the token in plain text
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    async with client:
        yield client


async def look_up(http: httpx.AsyncClient, access: GitAccess, url: RepositoryUrl, ref: str | None) -> Advertised:
    """What ``ref`` (None: HEAD) of the repository is now, in one request, and one more for every redirect.

    Raises GitFaultError. The token goes to its own origin only, and redirects never lead out of the URL's origin.
    """
    location = url
    for _ in range(MAX_REDIRECTS + 1):
        authorization = access.authorization(location)
        headers = _HEADERS | ({"Authorization": authorization} if authorization else {})
        address = location.text.rstrip("/") + _SUFFIX
        with http_translated():
            async with http.stream("GET", address, headers=headers, follow_redirects=False, auth=None) as response:
                if not response.has_redirect_location:
                    _check(response, authorized=authorization is not None)
                    return await _search(response, Search(ref), location)
                location = _redirected(location, response)
    raise GitFaultError(Fault.UNREACHABLE, f"the host redirected more than {MAX_REDIRECTS} times")


def _redirected(url: RepositoryUrl, response: httpx.Response) -> RepositoryUrl:
    """The repository's URL that a redirect leads to, if it leads to one of the same origin."""
    target = str(response.url.join(response.headers["Location"]))
    try:
        same = origin(target) == origin(url.text)
    except ValueError:
        raise GitFaultError(Fault.UNREACHABLE, "the host redirected to what is no URL") from None
    if not same:
        raise GitFaultError(Fault.HIDDEN, "the host redirected to another origin, which is not followed")
    if not target.endswith(_SUFFIX):
        raise GitFaultError(Fault.HIDDEN, "the host redirected to a page that is no repository, maybe to log in")
    try:
        return RepositoryUrl.parse(target.removesuffix(_SUFFIX))
    except ValueError as error:
        raise GitFaultError(Fault.UNREACHABLE, f"the host redirected to a URL that {error}") from None


def _check(response: httpx.Response, *, authorized: bool) -> None:
    """Let only a list of refs pass."""
    status = response.status_code
    match status:
        case HTTPStatus.OK:
            media_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if media_type != _MEDIA_TYPE:
                raise GitFaultError(
                    Fault.HIDDEN, "the host answered with something else than refs, maybe a log-in page"
                )
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN if authorized:
            raise GitFaultError(Fault.DENIED, f"the host answered HTTP {status}")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            raise GitFaultError(Fault.HIDDEN, f"the host answered HTTP {status}")
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            raise GitFaultError(Fault.MISSING, f"the host answered HTTP {status}")
        case _:
            raise GitFaultError(Fault.UNREACHABLE, f"the host answered HTTP {status}")


def advertised(search: Search, default_branch: str | None, url: RepositoryUrl) -> Advertised:
    """What a search found; raises GitFaultError when that is nothing."""
    found = search.found
    if found is None:
        raise GitFaultError(Fault.NO_REF, "the repository is empty, or has no branch and no tag of exactly this name")
    name = default_branch if found.name == HEAD else None
    return Advertised(commit=found.id, ref=name or found.name, url=url)


async def _search(response: httpx.Response, search: Search, url: RepositoryUrl) -> Advertised:
    parser = RefsParser()
    pieces = response.aiter_raw()
    size = 0
    try:
        async for piece in pieces:
            size += len(piece)
            if size > MAX_BYTES:
                raise GitFaultError(Fault.UNREACHABLE, f"the list of refs is longer than {MAX_BYTES >> 20} MiB")
            if any(search.offer(ref) for ref in parser.feed(piece)):
                await _read_on(pieces, size)
                break
        else:
            if not parser.ended:
                raise GitFaultError(Fault.UNREACHABLE, "the answer was cut off")
    except RefsError as error:
        raise GitFaultError(Fault.UNREACHABLE, f"the answer is not Git's: {error}") from error
    return advertised(search, parser.default_branch, url)


async def _read_on(pieces: AsyncIterator[bytes], size: int) -> None:
    """Read a short answer to its end, though it is known: left unread, it costs the next look-up a new connection."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(REST_SECONDS):
            while size <= _SHORT:
                piece = await anext(pieces, None)
                if piece is None:
                    return
                size += len(piece)
