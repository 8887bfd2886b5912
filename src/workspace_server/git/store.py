"""The bare object store of one template source: commits fetched into it, trees exported from it."""

from dataclasses import dataclass
from pathlib import Path

from workspace_server.concurrency import Deadline
from workspace_server.git import command
from workspace_server.git.command import AS_GIT, PRIVATE, UPLOAD_PACK, git
from workspace_server.git.environment import GitAccess
from workspace_server.git.faults import GitComplaint, complaint_of, no_space
from workspace_server.git.tree import MissingObjectError, Tree, read_tree
from workspace_server.model.repository import RepositoryUrl
from workspace_server.process import Completed

# Files are written as they are in the commit: line ends, encodings and keywords stay, no filter runs. Git reads this
# file before the repository's own .gitattributes.
_ATTRIBUTES = "* -text !eol -ident !filter !working-tree-encoding\n"

# What a git that was killed leaves behind. The lock on the store says that no git works on it now.
_UNFINISHED_PACKS = "objects/pack/tmp_*"
_LITTER = ("*.lock", "refs/**/*.lock", _UNFINISHED_PACKS, "objects/*/tmp_obj_*")

_TIP = "refs/tip"


class StoreDamagedError(Exception):
    """Git cannot read what the store has; the text is git's, for the log."""


class TooLargeError(Exception):
    """What git was to work on is larger than it may be; the text is git's, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """A bare repository that is worked on by one process at a time; every git inherits ``lock``'s descriptor.

    So a git that outlives a killed server keeps its successor waiting. Every method raises UnavailableError
    (``no_space``, ``tool_missing``), DeadlineError and TooLargeError.
    """

    directory: Path
    access: GitAccess
    url: RepositoryUrl
    lock: int
    deadline: Deadline

    async def open(self, object_format: str) -> None:
        """Make it ready for work: made when missing, rid of what a killed git left behind. Raises StoreDamagedError."""
        if self.directory.is_symlink() or (self.directory.exists() and not self.directory.is_dir()):
            raise StoreDamagedError("something else lies in its place")  # a link would lead out of the cache
        if not (self.directory / "HEAD").is_file():
            self.directory.mkdir(mode=0o700, exist_ok=True)
            created = await self._git("init", "--quiet", "--bare", "--template=", f"--object-format={object_format}")
            if not created.ok:
                raise StoreDamagedError(created.complaint)
        self.tidy()
        attributes = self.directory / "info" / "attributes"
        if not attributes.is_file() or attributes.read_text() != _ATTRIBUTES:
            attributes.parent.mkdir(mode=0o700, exist_ok=True)
            attributes.touch(mode=0o600)
            attributes.write_text(_ATTRIBUTES)

    def tidy(self) -> None:
        """Remove what a git that was killed left behind."""
        for pattern in _LITTER:
            for path in self.directory.glob(pattern):
                path.unlink()

    def has(self, commit: str) -> bool:
        """Whether a fetch of the commit came to its end. Damage shows only when the objects are read."""
        # Git writes the ref last. To look for its file costs nothing; nobody packs refs here.
        return (self.directory / _kept(commit)).is_file()

    async def fetch(self, location: RepositoryUrl, commit: str) -> Completed:
        """Fetch one commit, without its history. What was fetched before makes the transfer small."""
        return await self._fetch(location, f"+{commit}:{_kept(commit)}")

    async def fetch_tip(self, location: RepositoryUrl, ref: str) -> tuple[Completed, str | None]:
        """Fetch what a ref is now, and return that commit."""
        fetched = await self._fetch(location, f"+{ref}:{_TIP}")
        if not fetched.ok:
            return fetched, None
        tip = await self._git("rev-parse", "--quiet", "--verify", f"{_TIP}^{{commit}}")
        commit = tip.stdout.decode().strip() if tip.ok else None
        if commit is not None:
            await self._git("update-ref", _kept(commit), commit)
        return fetched, commit

    async def _fetch(self, location: RepositoryUrl, refspec: str) -> Completed:
        options = ["--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules"]
        if location.scheme == "file":
            options.append(UPLOAD_PACK)
        return await self._git("fetch", *options, "--", location.text, refspec, talking_to=location)

    async def is_sound(self) -> bool:
        """Whether every object is there and is what its name says."""
        checked = await self._git("fsck", "--no-dangling", "--no-progress")
        return checked.ok

    async def tree(self, commit: str) -> Tree:
        """The commit's files; raises UnusableTreeError, and StoreDamagedError when they are not all there."""
        listed = await self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        if not listed.ok:
            raise StoreDamagedError(listed.complaint)
        try:
            return read_tree(listed.stdout)
        except MissingObjectError as error:
            raise StoreDamagedError(str(error)) from error

    async def export(self, commit: str, staging: Path) -> Path:
        """Write the commit's files to ``staging/tree`` and return that; raises StoreDamagedError."""
        tree, index = staging / "tree", staging / "index"
        tree.mkdir()
        tree.chmod(0o755)
        work = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
        result = await self._git("read-tree", "--reset", "-u", commit, cwd=tree, umask=AS_GIT, extra=work)
        if not result.ok:
            raise StoreDamagedError(result.complaint)
        index.unlink(missing_ok=True)  # an empty tree has none
        return tree

    async def _git(
        self,
        *arguments: str,
        talking_to: RepositoryUrl | None = None,
        cwd: Path | None = None,
        umask: int = PRIVATE,
        extra: dict[str, str] | None = None,
    ) -> Completed:
        env = self.access.environment(talking_to or self.url, with_token=talking_to is not None)
        env |= {"GIT_DIR": str(self.directory), **(extra or {})}
        result = await git(
            arguments,
            env=env,
            deadline=self.deadline,
            cwd=cwd or self.directory,
            umask=umask,
            pass_fds=[self.lock],
            with_children=talking_to is not None,
        )
        if not result.ok and complaint_of(result) is GitComplaint.NO_SPACE:
            raise no_space(self.directory)
        if not result.ok and (complaint_of(result) is GitComplaint.TOO_LARGE or self._has_largest_pack()):
            raise TooLargeError(result.complaint)
        return result

    def _has_largest_pack(self) -> bool:
        """Whether a fetch was ended because its pack could not grow any more: git does not say so."""
        return any(path.stat().st_size >= command.FILE_BYTES for path in self.directory.glob(_UNFINISHED_PACKS))


def _kept(commit: str) -> str:
    return f"refs/commits/{commit}"
