"""What a client sees of the Git server: the real git, and one plain HTTP request."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp

from support.git_cli import GitFailedError, git
from support.git_repository import Repository

V0 = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version", "GIT_CONFIG_VALUE_0": "0"}


class Got(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


async def ls_remote(url: str, *patterns: str, env: dict[str, str] | None = None) -> dict[str, str]:
    """Return ref name → object id."""
    lines = (await git("ls-remote", url, *patterns, env=env)).splitlines()
    return {name: sha for sha, name in (line.split("\t") for line in lines)}


async def clone(url: str, to: Path) -> Path:
    await git("clone", "--quiet", url, str(to))
    return to


async def fetch_commit(repository: Repository, sha: str, to: Path, env: dict[str, str] | None = None) -> str:
    """Fetch one commit, shallow, into a bare store as the product does; return what it was fetched as."""
    await git("init", "--bare", "--quiet", f"--object-format={repository.object_format}", str(to))
    await git(f"--git-dir={to}", "fetch", "--quiet", "--depth=1", repository.url, sha, env=env)
    return await git(f"--git-dir={to}", "rev-parse", "FETCH_HEAD")


async def git_error(*arguments: str) -> str:
    """Run git and return the message it fails with."""
    try:
        output = await git(*arguments)
    except GitFailedError as error:
        return str(error)
    raise AssertionError(f"git did not fail: {output}")


async def get(url: str, headers: dict[str, str] | None = None) -> Got:
    """Send one GET that follows no redirect."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return Got(response.status, response.headers, await response.read())


async def refused(port: int) -> bool:
    """Tell whether nothing listens on a port of the loopback interface."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False
