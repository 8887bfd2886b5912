"""``workspace-server``: the commands and their options."""

import asyncio
import gc
import sys
from typing import Annotated

import typer

from workspace_server import __version__
from workspace_server.cli.images import app as images
from workspace_server.cli.secrets import app as secrets
from workspace_server.cli.workspaces import app as workspaces
from workspace_server.errors import SettingsError, WorkspaceServerError
from workspace_server.text import plain

app = typer.Typer(
    name="workspace-server",
    help="Runs teams of AI agents as containers: from a registry, or built from their template's Git source.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage or setting, 130 ended by Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(workspaces, name="workspaces")
app.add_typer(images, name="images")
app.add_typer(secrets, name="secrets")


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's call-back
    if wanted:
        print(f"workspace-server {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # noqa: FBT002 - Typer's flag
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options that come before a command."""


@app.command()
def serve() -> None:
    """Run the server until Ctrl-C.

    Everything is set by environment variables: see `workspace-server settings`. Nothing needs to be set.
    """
    # Half a million objects are about to be made, and none of them is garbage: looking would take a fifth of the start.
    gc.disable()
    from workspace_server.log import configure_logging  # noqa: PLC0415 - other commands start faster without it
    from workspace_server.server import serve as run  # noqa: PLC0415
    from workspace_server.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    configure_logging(form=settings.log_format, level=settings.log_level, secrets=settings.secrets)
    gc.freeze()
    gc.enable()
    asyncio.run(run(settings))


@app.command()
def settings() -> None:
    """Print every setting and what it is for.

    Each with its variable and its present value; secrets are masked.
    """
    from workspace_server.cli.settings import print_settings  # noqa: PLC0415

    print_settings()


@app.command()
def runtimes(
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")] = False,  # noqa: FBT002
) -> None:
    """List the runtimes, and which can be provisioned.

    The running server asks the templates' Git hosts and the engine at this moment, and says why one cannot be
    provisioned.
    """
    from workspace_server.cli.runtimes import print_runtimes  # noqa: PLC0415

    print_runtimes(as_json=as_json)


def main() -> None:
    """Run the command line. A failure is one sentence and a hint on stderr: exit code 2 for settings, else 1."""
    try:
        app(prog_name="workspace-server")
    except WorkspaceServerError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
