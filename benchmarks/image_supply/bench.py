"""The place where everything is measured: a Git host, the real server, the engine and its clock, a person's shell."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from tests.support.engine import engine_address, purge
from tests.support.git_server import GitServer, git_server
from tests.support.server import ServerProcess, eventually, server_process

from workspace_server.model import names

from .bare import LABEL, Bare
from .buildx import link_buildx
from .peers import Peers, install_peers
from .programs import Programs
from .starts import Starts, open_starts
from .templates import template

RUNTIME = "langgraph"
_FRESH = [f"fresh-{n}" for n in range(500)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What rows are measured with. The server runs, and has built ``RUNTIME`` as ``image``."""

    runs: int
    home: Path
    address: str
    git: GitServer
    server: ServerProcess
    starts: Starts
    programs: Programs
    bare: Bare
    peers: Peers
    image: str
    files: Path
    """A folder with what a workspace finds in its configuration volume, as large as there."""
    fresh: Iterator[str]
    """Names of runtimes that were never built."""

    def url(self, runtime: str = RUNTIME) -> str:
        """The URL of a runtime's template."""
        return f"{self.git.repo_prefix}{runtime}"

    async def started(self, *workspaces: str) -> float:
        """The moment at which the last of these workspaces' containers started."""
        try:
            return await self.starts.of(*map(names.container_name, workspaces))
        except TimeoutError:
            raise RuntimeError(f"a workspace did not start:\n{self.server.log.read_text()[-4000:]}") from None

    async def gone(self, *workspaces: str) -> None:
        """Remove workspaces, and wait until nothing of them is left."""
        for workspace in workspaces:
            await self.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
        for workspace in workspaces:
            await eventually(partial(self._is_missing, f"/workspaces/{workspace}"), "it is gone", 120)

    async def _is_missing(self, path: str) -> bool:
        return (await self.server.client.get(path)).status_code == httpx.codes.NOT_FOUND


@asynccontextmanager
async def open_bench(runs: int, *, with_peers: bool) -> AsyncIterator[Bench]:
    """Start everything, and remove it at the end. Raises RuntimeError for a docker without buildx."""
    address, label = engine_address(), f"{LABEL}={secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        programs = Programs(home=home / "home")  # the server's home, too
        link_buildx(programs.home)
        await programs.run("docker", "buildx", "version")  # both sides build with it
        peers = await install_peers(home / "peers", programs, label, wanted=with_peers)
        try:
            async with git_server(home / "git") as git, open_starts(address) as starts, _server(home, git) as server:
                await git.create_template(RUNTIME, template(RUNTIME))
                first = await server.create(RUNTIME)
                bench = Bench(
                    runs=runs,
                    home=home,
                    address=address,
                    git=git,
                    server=server,
                    starts=starts,
                    programs=programs,
                    bare=Bare(label=label),
                    peers=peers,
                    image=await _image(server, starts, first),
                    files=_files(home / "files"),
                    fresh=iter(_FRESH),
                )
                await bench.gone(first)
                yield bench
        finally:
            await purge(address, label)


def _files(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text("x" * 300)
    (folder / ".auth_token").write_text("x" * 43)
    (folder / ".auth_token").chmod(0o600)
    return folder


def _server(home: Path, git: GitServer) -> AbstractAsyncContextManager[ServerProcess]:
    return server_process(
        home,
        engine_address(),
        MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git.repo_prefix,
        MOLECULE_EXTRA_RUNTIMES=",".join(_FRESH),
    )


async def _image(server: ServerProcess, starts: Starts, workspace: str) -> str:
    """The id of the image that a workspace was started from."""
    await starts.of(names.container_name(workspace))
    (build,) = await server.builds()
    return str(build["image_id"])
