"""The example template as a Git repository: made from its files, the same files always giving the same commit."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from workspace_server.concurrency import Deadline
from workspace_server.errors import UnavailableError
from workspace_server.process import run

_SECONDS = 60
# Fixed, so that the commit depends on the files alone, and an image built from them earlier is found again.
_AUTHOR = {
    "GIT_AUTHOR_NAME": "workspace-server",
    "GIT_AUTHOR_EMAIL": "workspace-server@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "workspace-server",
    "GIT_COMMITTER_EMAIL": "workspace-server@localhost",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}

_NO_CACHES = ":(exclude,glob)**/__pycache__/**"


async def make_repository(files: Path, repository: Path, environment: Mapping[str, str]) -> str:
    """Make or update the bare ``repository`` so that its HEAD holds ``files``; returns its ``file://`` URL.

    Raises UnavailableError when git is missing or fails.
    """
    deadline = Deadline(_SECONDS)

    async def git(*arguments: str, cwd: Path | None = None, index: str = "index") -> str:
        argv = ["git", f"--git-dir={repository}", *arguments]
        done = await run(argv, env={**environment, **_AUTHOR, "GIT_INDEX_FILE": index}, deadline=deadline, cwd=cwd)
        if not done.ok:
            raise UnavailableError(f"git {arguments[0]} failed: {done.complaint}", code="example_not_made")
        return done.stdout.decode().strip()

    await git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    with tempfile.TemporaryDirectory() as scratch:
        index = f"{scratch}/index"
        await git(f"--work-tree={files}", "add", "--all", ".", _NO_CACHES, cwd=files, index=index)
        tree = await git("write-tree", index=index)
    commit = await git("commit-tree", tree, "-m", "The example template")
    await git("update-ref", "refs/heads/main", commit)
    return repository.as_uri()
