"""``workspace-server images``: its commands and their options.

What they do is in ``image_calls``, imported when one was chosen: the help and the server start faster without it.
"""

from typing import Annotated

import typer

app = typer.Typer(
    help="Images and the builds that make them.",
    epilog="They ask the server that the same environment starts: PORT, ADMIN_TOKEN, MOLECULE_DATA_DIR.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]
Runtime = Annotated[str, typer.Argument(help="A runtime's name, see `workspace-server runtimes`.")]
Build = Annotated[str, typer.Argument(help="A build's id, see `workspace-server images builds`.")]


@app.command("list")
def list_images(as_json: Json = False) -> None:  # noqa: FBT002 - Typer's flag
    """List the images that were built here.

    Newest first, with their sizes, their last uses, and why one is kept.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.list_images(as_json=as_json)


@app.command(epilog="Example: workspace-server images builds hermes --limit 5")
def builds(
    runtime: Annotated[str, typer.Argument(help="Builds of this runtime only.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=200)] = 50,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """List the builds, newest first.

    Those under way are among them. The first column is what `log` and `cancel` take.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.list_builds(runtime, limit=limit, as_json=as_json)


@app.command(epilog="Example: workspace-server images build hermes --force --pull")
def build(
    runtime: Runtime,
    force: Annotated[bool, typer.Option("--force", help="Build although the image is there.")] = False,  # noqa: FBT002
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Use no cached layer.")] = False,  # noqa: FBT002
    pull: Annotated[bool, typer.Option("--pull", help="Look base images up anew, though they are here.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Show nothing, print the ended build as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Build a runtime's image ahead of need.

    The newest commit of its template is built, and shown step by step. Nothing is built when its image is there;
    --force builds in any case, also what failed a while ago. --no-cache and --pull count for a build that begins now:
    an equal one that is under way is joined as it is.

    Ctrl-C ends the display only. The build goes on, and `images cancel` ends it.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    wish = {"runtime": runtime, "force": force, "no_cache": no_cache, "pull": pull}
    image_calls.build(wish, as_json=as_json)


@app.command(epilog="Example: workspace-server images explain hermes")
def explain(runtime: Runtime, as_json: Json = False) -> None:  # noqa: FBT002
    """Say whether a runtime's image is here, or why not.

    It tells what the next workspace of the runtime would find: a hit, or a miss and its reason. The template's Git host
    is asked for its newest commit; nothing is fetched, built or changed.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.explain(runtime, as_json=as_json)


@app.command(epilog="Example: workspace-server images log -f 01JB2M4T6Y8P0Q2R4S6V8X0Z2A")
def log(
    build: Build,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the build ends.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of the lines; with -f, events.")] = False,  # noqa: FBT002
) -> None:
    """Print a build's log.

    It is all that the builder wrote, from the first byte; of a build that is under way, what there is so far.

    With --json and -f, each line is one of the server's events as it comes: {"event", "id", "data"}. The event is
    `line`, `step` or `end`; the data of `end` is the ended build.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.print_log(build, follow=follow, as_json=as_json)


@app.command(epilog="Example: workspace-server images cancel 01JB2M4T6Y8P0Q2R4S6V8X0Z2A")
def cancel(build: Build, as_json: Json = False) -> None:  # noqa: FBT002
    """End a build that is under way.

    The workspaces that wait for it fail, with that as the reason. The layers that are made already are kept.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.cancel(build, as_json=as_json)


@app.command(epilog="Example: workspace-server images prune --dry-run")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed, and why.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Remove what was not used for longest.

    Images, checkouts and logs go until the rest is within the budget; never what is in use or was used a moment ago.
    The server does this by itself every six hours. MOLECULE_LOCAL_BUILD_BUDGET_MB and
    MOLECULE_LOCAL_BUILD_BUDGET_IMAGES set the budget.
    """
    from workspace_server.cli import image_calls  # noqa: PLC0415 - see above

    image_calls.prune(dry_run=dry_run, as_json=as_json)
