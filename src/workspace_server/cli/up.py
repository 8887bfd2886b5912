"""The Python side of ``bin/up``: a server of its own, a first workspace, a message to it, and cleaning up.

It runs the real server in this process, and talks to it through its API like any other client.
"""

import asyncio
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from workspace_server.cli.clean import remove_everything
from workspace_server.cli.client import Client, open_client
from workspace_server.cli.example import make_repository
from workspace_server.cli.messages import send_text, text_of
from workspace_server.cli.watch import watch_until_online
from workspace_server.concurrency import Deadline, first_of
from workspace_server.engine import open_engine, resolve_address
from workspace_server.errors import WorkspaceServerError
from workspace_server.log import configure_logging
from workspace_server.model import names
from workspace_server.server import listening, stop_signal
from workspace_server.settings import Settings, current_environment, load_settings
from workspace_server.text import plain
from workspace_server.wiring import Services

_RUNTIME = "echo"
_GREETING = "Hello from your first workspace"
_PORT = 8080
_MESSAGE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run of ``bin/up`` keeps everything: one directory, so that it can be removed as a whole."""

    root: Path
    example: Path

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.root / "server.log"

    @property
    def repository(self) -> Path:
        """The example template's Git repository."""
        return self.root / "templates" / "echo.git"

    def settings(self, environ: Mapping[str, str], port: int) -> Settings:
        """The settings of the server: the person's own, with the example's runtime added, always from source."""
        runtimes = [environ.get("MOLECULE_EXTRA_RUNTIMES", ""), _RUNTIME]
        own = {
            "PORT": str(port),
            "MOLECULE_DATA_DIR": str(self.root / "data"),
            "MOLECULE_LOCAL_BUILD_CACHE": str(self.root / "cache"),
            "MOLECULE_EXTRA_RUNTIMES": ",".join(name for name in runtimes if name),
            "MOLECULE_TEMPLATE_REPO_ECHO": self.repository.as_uri(),
            "MOLECULE_IMAGE_REGISTRY": "",
        }
        # The example is for trying: where production's platform would have to be emulated, it runs natively.
        native = {} if platform.machine() in ("x86_64", "AMD64") else {"MOLECULE_IMAGE_PLATFORM": ""}
        return load_settings({**native, **environ, **own})


def up(
    check: Annotated[bool, typer.Option("--check", help="Do everything, then remove all of it.")] = False,  # noqa: FBT002
    clean: Annotated[bool, typer.Option("--clean", help="Remove what earlier runs made.")] = False,  # noqa: FBT002
    port: Annotated[int | None, typer.Option("--port", help="Serve on this port.", min=1, max=65535)] = None,
) -> None:
    """Start a server with the example template and create a first workspace."""
    environ = current_environment()
    example = Path(environ["MOLECULE_UP_ROOT"]) / "examples" / _RUNTIME
    console = Console(highlight=False)
    if check:
        with tempfile.TemporaryDirectory(prefix="molecule-check-") as scratch:
            place = Place(root=Path(scratch), example=example)
            asyncio.run(_check(place, environ, port or _free_port(), console))
        return
    place = Place(root=load_settings(environ).data_dir.with_name("molecule-up"), example=example)
    place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(_clean(place, environ, console) if clean else _stay(place, environ, port or _PORT, console))


async def _stay(place: Place, environ: Mapping[str, str], port: int, console: Console) -> None:
    """Serve until Ctrl-C."""
    async with _running(place, environ, port, console) as (services, client):
        try:
            workspace_id = await _first_workspace(client, console)
        except asyncio.CancelledError:  # Ctrl-C
            console.print("stopped, and a build with it; bin/up goes on from the layers that are made")
            raise
        await _greet(client, workspace_id, console)
        _say_what_next(services, place, console)
        with stop_signal() as arrived:
            await arrived.wait()
        console.print("\nstopped; the workspace's container runs on, and bin/up finds it again")


async def _check(place: Place, environ: Mapping[str, str], port: int, console: Console) -> None:
    """Do everything once, remove it, and fail when anything is left."""
    settings = place.settings(environ, port)
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(10))
    async with open_engine(address) as engine:
        had_network = await engine.network(names.NETWORK) is not None
        try:
            await first_of(_try_once(place, environ, port, console), _interrupted())
        finally:
            left = await remove_everything(engine, settings, keep_network=had_network)
    if left:
        raise WorkspaceServerError(f"still there after the check: {', '.join(left)}", code="left_over")
    console.print("✓ everything that this check made is removed")


async def _try_once(place: Place, environ: Mapping[str, str], port: int, console: Console) -> None:
    async with _running(place, environ, port, console) as (_, client):
        workspace_id = await _first_workspace(client, console)
        await _greet(client, workspace_id, console)


async def _clean(place: Place, environ: Mapping[str, str], console: Console) -> None:
    """Remove what earlier runs made: containers, volumes, images, files."""
    settings = place.settings(environ, _PORT)
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(10))
    async with open_engine(address) as engine:
        left = await remove_everything(engine, settings, keep_network=False)
    shutil.rmtree(place.root)
    kept = f"; still in use: {', '.join(left)}" if left else ""
    console.print(f"✓ removed the workspaces, images and files of earlier runs{kept}")


@asynccontextmanager
async def _running(
    place: Place, environ: Mapping[str, str], port: int, console: Console
) -> AsyncIterator[tuple[Services, Client]]:
    """The server, serving, and a client of it. On an error the end of the server's log is shown."""
    settings = place.settings(environ, port)
    with place.log.open("a") as log:
        configure_logging(form="human", level=settings.log_level, secrets=settings.secrets, stream=log)
        try:
            await make_repository(place.example, place.repository, settings.passed_on)
            async with listening(settings) as services:
                console.print(f"✓ server at http://127.0.0.1:{port}")
                async with open_client(f"http://127.0.0.1:{port}", services.owner_token) as client:
                    yield services, client
        except WorkspaceServerError:
            _show_end(log, place.log)
            raise


async def _first_workspace(client: Client, console: Console) -> str:
    """The id of an online workspace of the example: the one of an earlier run, or a new one."""
    for known in await client.call("GET", "/workspaces"):
        if known["runtime"] == _RUNTIME and known["status"] in ("online", "provisioning"):
            console.print(f"✓ workspace {known['name']} of an earlier run")
            await watch_until_online(client, known["id"], console)
            return str(known["id"])
    body = {"name": _RUNTIME, "runtime": _RUNTIME, "role": "repeats what it is told"}
    created = await client.call("POST", "/workspaces", body)
    console.print("creating a workspace from examples/echo")
    await watch_until_online(client, created["id"], console)
    console.print("✓ workspace online")
    return str(created["id"])


async def _greet(client: Client, workspace_id: str, console: Console) -> None:
    """Send one message through the server, and show the answer."""
    reply = await send_text(client, workspace_id, _GREETING, seconds=_MESSAGE_SECONDS)
    text = text_of(reply)
    if text != _GREETING:
        raise WorkspaceServerError(f"the agent answered {reply}", code="unexpected_reply")
    console.print(f"  you:  {_GREETING}\n  echo: {text}")


def _say_what_next(services: Services, place: Place, console: Console) -> None:
    url = f"http://127.0.0.1:{services.settings.port}"
    token_file = services.settings.data_dir / "owner_token"
    proof = f' -H "Authorization: Bearer $(cat {token_file})"' if services.owner_needs_token else ""
    lines = {
        "the API": f"{url}/docs",
        "list workspaces": f"curl -s{proof} {url}/workspaces",
        "create another": f"""curl -s{proof} {url}/workspaces -d '{{"name":"second","runtime":"{_RUNTIME}"}}'""",
        "make your own": f"copy {place.example}; its README says how",
        "server's log": str(place.log),
    }
    width = max(len(label) for label in lines)
    console.print("\nnext:")
    for label, text in lines.items():
        console.print(f"  {label:<{width}}  {text}", markup=False, soft_wrap=True)
    console.print("\nCtrl-C stops the server; bin/up --clean removes everything that it made")


def _show_end(log: TextIO, path: Path) -> None:
    """The last lines of the server's log, on stderr."""
    log.flush()
    lines = path.read_text().splitlines()[-15:]
    print("\n".join(["the end of the server's log:", *(f"  {line}" for line in lines)]), file=sys.stderr)


async def _interrupted() -> None:
    with stop_signal() as arrived:
        await arrived.wait()
    raise WorkspaceServerError("interrupted", code="interrupted")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    try:
        typer.run(up)
    except WorkspaceServerError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        sys.exit(1)
