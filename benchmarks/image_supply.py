"""What the image supply costs, beside what a user would do by hand.

Run as ``python -m benchmarks.image_supply`` from the repository's root, with a container engine that can be reached.
Prints one table: medians of interleaved runs, and the ratio of each pair. Absolute times say little; ratios do.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from tests.support.engine import engine_address, purge
from tests.support.engine_events import EngineEvents, engine_events
from tests.support.git_server import GitServer, git_server
from tests.support.templates import agent_template

from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.engine import open_engine, resolve_address
from workspace_server.git import GitAccess, Resolver, open_http_client
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.lookup import look_up
from workspace_server.model import names
from workspace_server.runtimes import Runtimes
from workspace_server.settings import load_settings

RUNTIME = "langgraph"
PORT = 18080


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: what, against what, the goal for the ratio, and the seconds of each run of both sides."""

    what: str
    against: str
    goal: str
    ours: Sequence[float]
    theirs: Sequence[float]

    def __str__(self) -> str:
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return (
            f"| {self.what} | {self.against} | {ours * 1000:.0f} ms | {theirs * 1000:.0f} ms "
            f"| **{ours / theirs:.2f} x** | {self.goal} |"
        )


async def interleaved(
    runs: int, ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]]
) -> tuple[list[float], list[float]]:
    """Both sides in turn, after one uncounted turn of each; each call returns its own seconds."""
    await ours(), await theirs()
    pairs = [(await ours(), await theirs()) for _ in range(runs)]
    return [mine for mine, _ in pairs], [other for _, other in pairs]


async def program(*argv: str) -> str:
    """Run a program with a small environment; its output. Raises RuntimeError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=small_environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed: {err.decode()}")
    return out.decode().strip()


def small_environment(**extra: str) -> dict[str, str]:
    """PATH, HOME and the engine's address, and ``extra``."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ} | extra


@asynccontextmanager
async def server(home: Path, host: GitServer) -> AsyncIterator[httpx.AsyncClient]:
    """The real server as a process, ready."""
    environment = small_environment(
        PORT=str(PORT),
        MOLECULE_DATA_DIR=str(home / "data"),
        MOLECULE_LOCAL_BUILD_CACHE=str(home / "cache"),
        MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=host.repo_prefix,
    )
    with (home / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workspace_server", "serve", env=environment, stdout=log, stderr=log
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
                await answering(client)
                yield client
        finally:
            process.terminate()
            await process.wait()


async def answering(client: httpx.AsyncClient) -> None:
    """Wait until the server answers."""
    for _ in range(2000):
        try:
            await client.get("/health")
            return
        except httpx.TransportError:
            await asyncio.sleep(0.005)
    raise RuntimeError("the server does not answer")


async def started(events: EngineEvents, workspace: str) -> float:
    """The moment, in seconds since 1970, at which the engine started the container of that name."""
    for _ in range(6000):
        for event in events:
            if event.action == "start" and event.attributes.get("name") == workspace:
                return event.nanoseconds / 1e9
        await asyncio.sleep(0.01)
    raise RuntimeError(f"{workspace} did not start")


async def warm_look_up(home: Path, host: GitServer, runs: int) -> Row:
    """A runtime's name to "hit" and the image's id, in process, against the ``git ls-remote`` process alone."""
    settings = load_settings(small_environment(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=host.repo_prefix))
    template = Runtimes.from_settings(settings).template(RUNTIME)
    access = GitAccess.from_settings(settings)
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(10))
    async with open_engine(address) as engine, open_http_client(access) as http, TaskScope() as scope:
        resolver = Resolver(http=http, access=access, scope=scope)

        async def ours() -> float:
            began = time.perf_counter()
            commit = await resolver.resolve(template, Deadline(30))
            await look_up(engine, BuildIdentity(template=template, commit=commit, platform="linux/amd64"))
            return time.perf_counter() - began

        async def theirs() -> float:
            began = time.perf_counter()
            await program("git", "ls-remote", str(template.url), "HEAD")
            return time.perf_counter() - began

        mine, others = await interleaved(runs, ours, theirs)
    return Row(what="warm look-up", against="`git ls-remote`", goal="≤ 0.6 x", ours=mine, theirs=others)


async def warm_create(client: httpx.AsyncClient, events: EngineEvents, host: GitServer, runs: int) -> Row:
    """POST to a running container, against ``git ls-remote`` and ``docker run -d`` with the same settings."""
    image = f"molecule-local/workspace-template-{RUNTIME}"
    tags = (await program("docker", "images", "--format", "{{.Tag}}", image)).split()
    tag = next(tag for tag in tags if tag.startswith("latest"))

    async def ours() -> float:
        began = time.time()
        created = (await client.post("/workspaces", json={"name": "warm", "runtime": RUNTIME})).json()
        seconds = await started(events, names.container_name(created["id"])) - began
        await gone(client, created["id"])
        return seconds

    async def theirs() -> float:
        name = f"bare-{uuid4().hex[:8]}"
        began = time.time()
        await program("git", "ls-remote", f"{host.repo_prefix}{RUNTIME}", "HEAD")
        await program(*bare_run(name, f"{image}:{tag}"))
        seconds = await started(events, name) - began
        await program("docker", "rm", "-f", name)
        await program("docker", "volume", "rm", f"{name}-configs", f"{name}-workspace")
        return seconds

    mine, others = await interleaved(runs, ours, theirs)
    goal, against = "≤ 1.0 x", "`git ls-remote` + `docker run -d`"
    return Row(what="warm create", against=against, goal=goal, ours=mine, theirs=others)


def bare_run(name: str, image: str) -> list[str]:
    """``docker run`` with what a workspace of tier 2 has: volumes, network, port, limits, platform, environment."""
    return [
        *("docker", "run", "-d", "--name", name, "--platform", "linux/amd64", "--network", names.NETWORK),
        *("-v", f"{name}-configs:/configs", "-v", f"{name}-workspace:/workspace", "-p", "127.0.0.1::8000"),
        *("--memory", "512m", "--cpus", "1", "-e", f"WORKSPACE_ID={name}", "-e", "PLATFORM_URL=http://127.0.0.1:1"),
        image,
    ]


async def gone(client: httpx.AsyncClient, workspace: str) -> None:
    """Remove a workspace, and wait until nothing of it is left."""
    await client.delete(f"/workspaces/{workspace}", params={"purge": "true"})
    for _ in range(3000):
        if (await client.get(f"/workspaces/{workspace}")).status_code != httpx.codes.OK:
            return
        await asyncio.sleep(0.02)
    raise RuntimeError(f"{workspace} is not gone")


async def ready(home: Path, runs: int) -> Row:
    """Process start to the first answer, against a FastAPI application with one route."""
    (home / "bare.py").write_text(
        "from fastapi import FastAPI\napp = FastAPI()\n\n\n@app.get('/health')\nasync def health(): return {}\n"
    )
    own = [sys.executable, "-m", "workspace_server", "serve"]
    bare = [sys.executable, "-m", "uvicorn", "--app-dir", str(home), "--port", str(PORT + 1), "bare:app"]
    environment = small_environment(PORT=str(PORT + 2), MOLECULE_DATA_DIR=str(home / "idle"))

    async def first_answer(argv: list[str], port: int) -> float:
        began = time.perf_counter()
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=null, stderr=null)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await answering(client)
        seconds = time.perf_counter() - began
        process.terminate()
        await process.wait()
        return seconds

    mine, others = await interleaved(runs, lambda: first_answer(own, PORT + 2), lambda: first_answer(bare, PORT + 1))
    return Row(what="start to ready", against="a bare FastAPI application", goal="≤ 1.5 x", ours=mine, theirs=others)


async def measure(runs: int) -> list[Row]:
    """All rows, on one machine, in one run."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        address = engine_address()
        async with git_server(home / "git") as host, engine_events(address) as events:
            await host.create_template(RUNTIME, agent_template(RUNTIME))
            async with server(home, host) as client:
                instance = (await client.get("/ready")).json()["instance"]
                try:
                    first = (await client.post("/workspaces", json={"name": "first", "runtime": RUNTIME})).json()
                    await started(events, names.container_name(first["id"]))
                    rows = [await warm_look_up(home, host, runs), await warm_create(client, events, host, runs)]
                finally:
                    await purge(address, f"{names.INSTANCE}={instance}")
            rows.append(await ready(home, runs))
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="counted runs of each side (default 9)")
    rows = asyncio.run(measure(parser.parse_args().runs))
    print("| what | against | ours | theirs | ratio | goal |\n|---|---|---|---|---|---|")
    print("\n".join(str(row) for row in rows))


if __name__ == "__main__":
    main()
