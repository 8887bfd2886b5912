"""The files of one commit of a template: fetched, exported, compared with the commit, kept.

Below the cache directory::

    <runtime>/                    0700, like every folder here that is not part of a tree
    ├── lock                      held by whoever works in this folder
    ├── git-<8 hex of source>/    bare object store; its commits make the next fetch small
    ├── <commit>/
    │   ├── tree/                 the commit's files, without .git: what a build gets
    │   └── ready                 written last; a folder without it is rubbish
    └── staging-…, discarded-…    of work under way or interrupted
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from workspace_server.concurrency import Deadline
from workspace_server.git.environment import GitAccess
from workspace_server.git.faults import (
    Fault,
    GitComplaint,
    GitFaultError,
    cache_translated,
    cache_unusable,
    complaint_of,
    malformed,
    offline,
)
from workspace_server.git.folders import discard, is_published, locked, mark_used, new_staging, prepare, publish, sweep
from workspace_server.git.resolve import Resolver, is_pinned
from workspace_server.git.store import ObjectStore, StoreDamagedError, TooLargeError
from workspace_server.git.tree import Tree, UnusableTreeError, difference
from workspace_server.model.repository import RepositoryUrl
from workspace_server.process import Completed
from workspace_server.runtimes import Template

log = structlog.get_logger(__name__)

_SHA1_DIGITS = 40


class CommitMovedError(Exception):
    """A signal to resolve again: the host does not hand out the commit, and its ref is ``commit`` by now."""

    def __init__(self, commit: str) -> None:
        super().__init__(f"the ref is {commit} by now")
        self.commit = commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The verified files of one commit: ``path`` is the tree, without ``.git``."""

    path: Path
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One call under the lock: what is wanted, and where everything lies."""

    template: Template
    commit: str
    folder: Path
    store: ObjectStore
    about: structlog.stdlib.BoundLogger

    @property
    def place(self) -> Path:
        return self.folder / self.commit

    @property
    def checkout(self) -> Checkout:
        return Checkout(path=self.place / "tree", commit=self.commit)


class CheckoutStore:
    """Checkouts below ``cache``, shared by every task and every process that uses the folder."""

    def __init__(self, *, cache: Path, access: GitAccess, resolver: Resolver) -> None:
        self._cache = cache
        self._access = access
        self._resolver = resolver

    async def checkout(self, template: Template, commit: str, deadline: Deadline) -> Checkout:
        """The tree of ``commit``, compared with the commit, every byte, before this returns.

        Raises CommitMovedError; SourceError ``git_unreachable``, ``template_repo_missing``, ``git_denied``,
        ``git_offline``, ``template_ref_missing``; TemplateError ``template_malformed``; UnavailableError ``no_space``,
        ``tool_missing``, ``cache_unusable``; DeadlineError.
        """
        folder = self._cache / template.runtime
        about = log.bind(runtime=template.runtime, commit=commit[:12])
        with cache_translated(self._cache):
            prepare(self._cache, folder)
            async with locked(folder / "lock", deadline, about) as lock:
                await sweep(folder)
                suffix = "" if len(commit) == _SHA1_DIGITS else "-sha256"  # a store has one object format
                store = ObjectStore(
                    directory=folder / f"git-{template.url.digest}{suffix}",
                    access=self._access,
                    url=template.url,
                    lock=lock.fileno(),
                    deadline=deadline,
                )
                work = _Work(template=template, commit=commit, folder=folder, store=store, about=about)
                return await self._made(work)

    async def _made(self, work: _Work) -> Checkout:
        """The checkout; a store that turns out to be damaged is thrown away and fetched anew, once."""
        try:
            return await self._made_or_repaired(work)
        except TooLargeError as error:
            work.about.warning("local-build: the repository is too large for git", complaint=str(error))
            work.store.tidy()
            raise malformed(work.template, work.commit, "git needs more room for it than it is given") from error

    async def _made_or_repaired(self, work: _Work) -> Checkout:
        try:
            return await self._made_from_store(work)
        except StoreDamagedError as damage:
            work.about.warning("local-build: object store damaged, fetching anew", complaint=str(damage))
        await discard(work.store.directory)
        try:
            return await self._made_from_store(work)
        except StoreDamagedError as damage:
            work.about.warning("local-build: git cannot read the repository", complaint=str(damage))
            raise malformed(work.template, work.commit, "git cannot read its objects") from damage

    async def _made_from_store(self, work: _Work) -> Checkout:
        await work.store.open("sha1" if len(work.commit) == _SHA1_DIGITS else "sha256")
        if not work.store.has(work.commit):
            await self._fetch(work)
        try:
            tree = await work.store.tree(work.commit)
        except UnusableTreeError as error:
            raise malformed(work.template, work.commit, str(error)) from error
        if is_published(work.place):
            edited = await asyncio.to_thread(difference, work.checkout.path, tree)
            if edited is None:
                mark_used(work.place)
                return work.checkout
            work.about.warning("local-build: checkout edited", difference=edited)
        await discard(work.place)
        return await self._export(work, tree)

    async def _export(self, work: _Work, tree: Tree) -> Checkout:
        staging = new_staging(work.folder)
        try:
            exported = await work.store.export(work.commit, staging)
            wrong = await asyncio.to_thread(difference, exported, tree)
            if wrong is not None:
                if not await work.store.is_sound():
                    raise StoreDamagedError(wrong)
                raise cache_unusable(self._cache, f"its file system does not keep what git writes: {wrong}")
            publish(staging, work.place)
        finally:
            await discard(staging)
        return work.checkout

    async def _fetch(self, work: _Work) -> None:
        if not self._access.may_ask(work.template.url):
            raise offline(work.template, work.commit)
        work.about.info(f"local-build: cloning {work.template.url}")
        location = self._resolver.location(work.template.url)
        result = await work.store.fetch(location, work.commit)
        if not result.ok:
            work.about.debug("git fetch failed", complaint=result.complaint)
            await self._fetch_otherwise(work, location, result)
        work.about.info(f"local-build: clone complete ({work.commit[:12]})")

    async def _fetch_otherwise(self, work: _Work, tried: RepositoryUrl, result: Completed) -> None:
        """Fetch after the commit could not be had directly.

        A look-up tells, in the protocol's terms, where the host is away or refuses us. If it does not, either our store
        is damaged, or the ref moved, or the repository did, or the host hands out refs only, or the transfer fails.
        """
        template, commit, store = work.template, work.commit, work.store
        pinned = is_pinned(template)
        now = await self._resolver.look_up(template, store.deadline)
        if not await store.is_sound():
            raise StoreDamagedError(result.complaint)
        if not pinned and now.commit != commit:
            raise CommitMovedError(now.commit)
        if pinned or now.url != tried:
            result = await store.fetch(now.url, commit)
            if result.ok:
                return
        if not pinned:
            result, tip = await store.fetch_tip(now.url, now.ref)
            if tip == commit:
                return
            if tip is not None:
                raise CommitMovedError(tip)
        work.about.warning("git fetch failed", complaint=result.complaint)
        raise self._resolver.error_of(_failure(result), template)


def _failure(result: Completed) -> GitFaultError:
    """Why a fetch failed though the host answers look-ups and our store is sound."""
    if complaint_of(result) is GitComplaint.REFUSED:
        return GitFaultError(Fault.NO_REF, "the host has no such commit, or does not hand it out")
    return GitFaultError(Fault.UNREACHABLE, "the transfer of the files broke off")
