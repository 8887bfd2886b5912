"""What commit a template's ref is at this moment."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import structlog

from workspace_server.concurrency import Deadline, SingleFlight, TaskScope
from workspace_server.errors import DeadlineError, SourceError
from workspace_server.git.command import UPLOAD_PACK, git
from workspace_server.git.environment import GitAccess
from workspace_server.git.faults import Fault, GitFaultError, error_of
from workspace_server.git.refs import HEAD, Ref, Search
from workspace_server.git.remote import LOOK_UP_SECONDS, Advertised, advertised, look_up
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

log = structlog.get_logger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Resolver:
    """Asks repositories what their refs are. Equal look-ups in flight are shared; no answer is kept.

    What it remembers is for the words of errors and for fetches: which runtimes' repositories answered last, and
    where redirects of a repository ended.
    """

    def __init__(self, *, http: httpx.AsyncClient, access: GitAccess, scope: TaskScope) -> None:
        self._http = http
        self._access = access
        self._flights: SingleFlight[tuple[str, str | None], Advertised] = SingleFlight(scope)
        self._buildable: set[str] = set()
        self._locations: dict[str, RepositoryUrl] = {}

    async def resolve(self, template: Template, deadline: Deadline) -> str:
        """The full commit that the template's ref (None: HEAD) is now; a full commit is itself, without any network.

        Only where ``may_ask`` says so. Raises SourceError ``git_unreachable``, ``template_repo_missing``,
        ``git_denied``, ``template_ref_missing``, and UnavailableError ``tool_missing``. A deadline that ends during the
        look-up is ``git_unreachable`` too.
        """
        if is_pinned(template):
            return str(template.ref)
        return (await self.look_up(template, deadline)).commit

    def may_ask(self, template: Template) -> bool:
        """Whether a look-up is allowed: offline, only one that needs no network."""
        return is_pinned(template) or self._access.may_ask(template.url)

    async def look_up(self, template: Template, deadline: Deadline) -> Advertised:
        """The same with the ref's full name and the repository's URL behind redirects; of a full commit, HEAD's."""
        ref = None if is_pinned(template) else template.ref
        try:
            with _deadline_translated():
                async with deadline.limit("the look-up"):
                    found = await self._flights.do((template.url.text, ref), lambda: self._fly(template.url, ref))
        except GitFaultError as failure:
            raise self.error_of(failure, template) from failure
        self._buildable.add(template.runtime)
        self._locations[template.url.text] = found.url
        return found

    def error_of(self, failure: GitFaultError, template: Template) -> SourceError:
        """The error of a failed look-up or fetch in its final words, also written to the log."""
        if failure.fault is not Fault.UNREACHABLE:
            self._buildable.discard(template.runtime)
        error = error_of(failure, template, sorted(self._buildable))
        log.warning(error.message, runtime=template.runtime, url=template.url.text, code=error.code, cause=error.hint)
        return error

    def location(self, url: RepositoryUrl) -> RepositoryUrl:
        """Where a fetch should go: where the last look-up of this URL ended."""
        return self._locations.get(url.text, url)

    async def _fly(self, url: RepositoryUrl, ref: str | None) -> Advertised:
        """One look-up for all who wait, on its own clock: nobody's deadline may end it for the others."""
        deadline = Deadline(LOOK_UP_SECONDS)
        with _deadline_translated():
            async with deadline.limit("the look-up"):
                if url.scheme == "file":
                    return await _look_up_file(self._access, url, ref, deadline)
                return await look_up(self._http, self._access, url, ref)


@contextmanager
def _deadline_translated() -> Iterator[None]:
    try:
        yield
    except DeadlineError as error:
        raise GitFaultError(Fault.UNREACHABLE, f"no complete answer in time: {error.message}") from error


def is_pinned(template: Template) -> bool:
    """Whether the template's ref is a full commit."""
    return template.ref is not None and _COMMIT.fullmatch(template.ref) is not None


async def _look_up_file(access: GitAccess, url: RepositoryUrl, ref: str | None, deadline: Deadline) -> Advertised:
    """The same for a repository in a folder. The patterns only shorten git's list: they match tails of names too."""
    search = Search(ref)
    # Without a repository of its own: one that lies around the working directory must not configure it.
    env = access.environment(url) | {"GIT_DIR": os.devnull}
    result = await git(
        ["ls-remote", "--symref", UPLOAD_PACK, "--", url.text, *search.patterns],
        env=env,
        deadline=deadline,
        cwd=Path("/"),
    )
    if not result.ok:
        log.debug("git ls-remote failed", url=url.text, complaint=result.complaint)
        raise GitFaultError(Fault.MISSING, "git found no repository in this folder that it may read")
    default_branch = None
    for line in result.stdout.decode("utf-8", "surrogateescape").split("\n"):
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == HEAD:
            default_branch = value.removeprefix("ref: ")
        else:
            search.offer(Ref(name, value))
    return advertised(search, default_branch, url)
