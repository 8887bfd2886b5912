"""One git command, run to its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workspace_server.concurrency import Deadline
from workspace_server.errors import UnavailableError
from workspace_server.git.faults import git_missing
from workspace_server.process import Bounds, Completed, run

PRIVATE = 0o077
AS_GIT = 0o022  # files get the modes they have in a commit: 644 and 755, whatever this server's own umask is

# What a host sends is limited before any of it is looked at: a pack of all that a template may have (see MAX_BYTES of
# git/tree.py) fits twice, and a list of refs without end fills no memory.
FILE_BYTES = 1024 * 1024 * 1024
MEMORY_BYTES = 4 * FILE_BYTES

# The owner of a repository that the operator named by its path does not matter. Configuration in the environment does
# not reach the process at the repository's end, an argument does.
UPLOAD_PACK = "--upload-pack=git -c safe.directory=* upload-pack"


async def git(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    deadline: Deadline,
    cwd: Path,
    umask: int = PRIVATE,
    pass_fds: Sequence[int] = (),
    with_children: bool = False,
) -> Completed:
    """Run git and return how it ended. Raises UnavailableError ``tool_missing``, and DeadlineError.

    ``with_children``: for a git that talks to a host. A helper of its does that, and would outlive a killed server for
    as long as the host is silent.
    """
    try:
        return await run(
            ["git", *arguments],
            env=env,
            deadline=deadline,
            cwd=cwd,
            umask=umask,
            pass_fds=pass_fds,
            with_children=with_children,
            bounds=Bounds(file_bytes=FILE_BYTES, memory_bytes=MEMORY_BYTES),
        )
    except UnavailableError as error:
        raise git_missing() from error
