"""A bare repository on disk that a test writes to as a developer would, without a work tree."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from .git_cli import git
from .git_faults import Faults
from .git_objects import FIRST_SECOND, Edits, Entry, ObjectFormat, ObjectStore

NO_SUCH_BRANCH = "refs/heads/no-such-branch"


class Repository:
    """One bare repository behind a Git server.

    Equal edits, messages and order give equal commit ids, in every run and in every repository: identity and dates
    are fixed.
    """

    def __init__(
        self,
        *,
        path: str,
        url: str,
        directory: Path,
        faults: Faults,
        object_format: ObjectFormat = "sha1",
        default_branch: str = "main",
    ) -> None:
        self.path = path
        self.url = url
        self.directory = directory
        self.object_format = object_format
        self.default_branch = default_branch
        self.faults = faults
        self._objects = ObjectStore.of(directory, object_format)
        self._contents: dict[str, dict[str, Entry]] = {}
        self._tips: dict[str, str] = {}
        self._clock = FIRST_SECOND

    def __repr__(self) -> str:
        return f"Repository({self.path!r})"

    async def initialize(self) -> None:
        """Make the empty repository on disk; HEAD names the default branch, which is not born yet."""
        self.directory.mkdir(parents=True)
        options = (
            "--bare",
            "--quiet",
            f"--object-format={self.object_format}",
            f"--initial-branch={self.default_branch}",
        )
        await git("init", *options, "--template=", str(self.directory))

    def tip(self, branch: str | None = None) -> str:
        """Return the commit a branch (the default one) points to; KeyError when there is none."""
        return self._tips[branch or self.default_branch]

    async def commit(
        self,
        files: Edits,
        message: str = "change",
        *,
        branch: str | None = None,
        onto: str | None = None,
        replace: bool = False,
    ) -> str:
        """Add a commit with these edits (None removes a file) and return its id; the branch (default) points to it.

        Its parent is the branch's tip, or ``onto``: an older commit there makes it a force-push. With ``replace`` the
        edits are the whole content, not a change of the parent's.
        """
        branch = branch or self.default_branch
        parent = onto or self._tips.get(branch)
        contents = {} if replace or parent is None else dict(self._contents[parent])
        second = self._tick()

        def write() -> str:
            for path, file in files.items():
                if file is None:
                    del contents[path]
                else:
                    contents[path] = self._objects.entry(file)
            tree = self._objects.tree(contents)
            parents = () if parent is None else (parent,)
            return self._objects.commit(tree=tree, parents=parents, message=message, second=second)

        sha = await asyncio.to_thread(write)
        self._contents[sha] = contents
        await self.branch(branch, sha)
        return sha

    async def branch(self, name: str, at: str) -> None:
        """Make a branch, or move it, whether or not that is a fast-forward."""
        self._tips[name] = at
        await self.refs({f"refs/heads/{name}": at})

    async def remove_branch(self, name: str) -> None:
        """Remove a branch; its commits stay in the store until ``prune``."""
        del self._tips[name]
        await self._git("update-ref", "-d", f"refs/heads/{name}")

    async def tag(self, name: str, at: str | None = None, *, annotated: bool = False) -> str:
        """Tag a commit (the default branch's tip) and return what the ref points to: the commit, or the tag object."""
        target = at or self.tip()
        if annotated:
            target = self._objects.tag(target=target, name=name, second=self._tick())
        await self.refs({f"refs/tags/{name}": target})
        return target

    async def refs(self, refs: Mapping[str, str]) -> None:
        """Make or move any number of refs, by full name, in one transaction."""
        lines = "".join(f"update {name} {sha}\n" for name, sha in refs.items())
        await self._git("update-ref", "--stdin", stdin=lines.encode())

    async def set_head(self, ref: str) -> None:
        """Let HEAD name a branch: short (``main``) or full (``refs/heads/main``)."""
        await self._git("symbolic-ref", "HEAD", ref if ref.startswith("refs/") else f"refs/heads/{ref}")

    async def detach_head(self, sha: str) -> None:
        """Let HEAD be a commit instead of a branch."""
        await self._git("update-ref", "--no-deref", "HEAD", sha)

    async def delete_head(self) -> None:
        """Let clients see no HEAD: it names a branch that does not exist, as after the default branch was removed."""
        await self.set_head(NO_SUCH_BRANCH)

    async def prune(self) -> None:
        """Throw away every commit that no ref reaches, as a host's housekeeping does."""
        await self._git("gc", "--quiet", "--prune=now")

    async def config(self, key: str, value: str) -> None:
        """Set a value of the repository's own configuration."""
        await self._git("config", key, value)

    async def show(self, revision: str) -> str:
        """Return the full object id of a revision, as git itself resolves it."""
        return await self._git("rev-parse", "--verify", "--quiet", revision)

    async def fsck(self) -> None:
        """Let git check every object; raises GitFailedError with its complaint."""
        await self._git("fsck", "--full", "--no-dangling")

    def _tick(self) -> int:
        self._clock += 60
        return self._clock

    async def _git(self, *arguments: str, stdin: bytes | None = None) -> str:
        return await git(f"--git-dir={self.directory}", *arguments, stdin=stdin)
