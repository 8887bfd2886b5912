"""The git binary, run with nothing of the user's own configuration or credentials."""

import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path

from .processes import running


class GitFailedError(AssertionError):
    """A git command ended with a bad exit code; says which, and what it wrote."""


def scrubbed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which git reads no user or system configuration, asks nothing and speaks English."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        **(extra or {}),
    }


async def git(
    *arguments: str, cwd: Path | None = None, stdin: bytes | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run git to its end and return its standard output without the last newline.

    ``env`` is added to the scrubbed environment. Raises GitFailedError on a bad exit code.
    """
    async with running(
        "git",
        *arguments,
        cwd=cwd,
        env=scrubbed_environment(env),
        stdin=DEVNULL if stdin is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
    ) as process:
        stdout, stderr = await process.communicate(stdin)
    if process.returncode:
        message = f"git {' '.join(arguments)} exited with {process.returncode}: {stderr.decode(errors='replace')}"
        raise GitFailedError(message)
    return stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
