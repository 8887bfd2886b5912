"""``workspace-server images``: the images of this server and the builds that make them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from workspace_server.cli.client import Client, error_of, open_own_client, path_of
from workspace_server.cli.output import ago, duration, json_text, print_json, print_table, size
from workspace_server.cli.watch import watch_build
from workspace_server.text import plain

app = typer.Typer(
    help="Images and the builds that make them.",
    epilog="They ask the server that the same environment starts: PORT, ADMIN_TOKEN, MOLECULE_DATA_DIR.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_PRUNE_SECONDS = 600.0  # large images go slowly

Json = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]
Runtime = Annotated[str, typer.Argument(help="A runtime's name, see `workspace-server runtimes`.")]
Build = Annotated[str, typer.Argument(help="A build's id, see `workspace-server images builds`.")]


def _call(work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def calling() -> Any:
        async with open_own_client() as client:
            return await work(client)

    return asyncio.run(calling())


@app.command("list")
def list_images(as_json: Json = False) -> None:  # noqa: FBT002 - Typer's flag
    """List the images that were built here.

    Newest first, with their sizes, their last uses, and why one is kept.
    """
    images = _call(lambda client: client.call("GET", "/images"))
    if as_json:
        print_json(images)
        return
    print_table(
        ["runtime", "commit", "image", "size", "built", "last used", "kept because"],
        [
            [
                image["runtime"],
                image["commit"][:12],
                image["id"].removeprefix("sha256:")[:12],
                size(image["size"]),
                ago(image["built_at"]),
                ago(image["last_used_at"]),
                image["keep"] or "",
            ]
            for image in images
        ],
    )


@app.command(epilog="Example: workspace-server images builds hermes --limit 5")
def builds(
    runtime: Annotated[str, typer.Argument(help="Builds of this runtime only.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=200)] = 50,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """List the builds, newest first.

    Those under way are among them. The first column is what `log` and `cancel` take.
    """
    query = {"runtime": runtime, "limit": str(limit)}
    found = _call(lambda client: client.call("GET", "/images/builds", query=query))
    if as_json:
        print_json(found)
        return
    print_table(
        ["build", "runtime", "from", "state", "took", "started", "reason"],
        [
            [
                build["id"],
                build["runtime"],
                _made_from(build),
                build["state"],
                duration(build["seconds"]),
                ago(build["started_at"]),
                build["reason"],
            ]
            for build in found
        ],
    )


def _made_from(build: Any) -> str:
    """What a build was made from, short: a commit, or of a pull the digest in the registry once it is known."""
    return str(build["commit"] or build["digest"] or "").removeprefix("sha256:")[:12]


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
    wish = {"runtime": runtime, "force": force, "no_cache": no_cache, "pull": pull}
    ended = _call(lambda client: _built(client, wish, None if as_json else Console(highlight=False)))
    if as_json:
        print_json(ended)
    if ended["error"] is not None:
        raise error_of(ended["error"])
    if not as_json:
        print(f"{'already built' if ended['state'] == 'hit' else 'built'}: {ended['image_id']}")


async def _built(client: Client, wish: Any, console: Console | None) -> Any:
    begun = await client.call("POST", "/images/builds", wish)
    if begun["state"] == "hit":
        return begun
    try:
        return await watch_build(client, begun["id"], console)
    except asyncio.CancelledError:  # Ctrl-C
        print(f"the build goes on; to end it: workspace-server images cancel {begun['id']}", file=sys.stderr)
        raise


@app.command(epilog="Example: workspace-server images explain hermes")
def explain(runtime: Runtime, as_json: Json = False) -> None:  # noqa: FBT002
    """Say whether a runtime's image is here, or why not.

    It tells what the next workspace of the runtime would find: a hit, or a miss and its reason. The template's Git host
    is asked for its newest commit; nothing is fetched, built or changed.
    """
    answer = _call(lambda client: client.call("GET", "/images/explain", query={"runtime": runtime}))
    if as_json:
        print_json(answer)
        return
    reason = f"{answer['verdict']}: {answer['reason']} {answer['detail']}".rstrip(": ")
    print(plain(f"{runtime}: {reason}"))
    if answer["stale"] and (image := answer["image"]):
        print(f"  stale: offline, so the Git host was not asked; built {ago(image['built_at'])}")
    facts = {**answer["parts"], "build id": answer["build_id"]}
    if answer["image"] is not None:
        facts["image"] = answer["image"]["id"]
    if answer["estimate_seconds"] is not None:
        facts["estimate"] = f"{duration(answer['estimate_seconds'])}, as the last build took"
    for name, value in facts.items():
        print(plain(f"  {name:<10}{value}"))


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

    async def work(client: Client) -> None:
        path = path_of("images", "builds", build, "log")
        if not follow:
            text = plain(await client.text(path))
            print_json(text.splitlines()) if as_json else print(text, end="")
            return
        async for event in client.events(f"{path}?follow=1", "end"):
            if as_json:
                print(json_text(event), flush=True)
            elif event["event"] == "line":
                print(plain(event["data"]["text"]), flush=True)

    _call(work)


@app.command(epilog="Example: workspace-server images cancel 01JB2M4T6Y8P0Q2R4S6V8X0Z2A")
def cancel(build: Build, as_json: Json = False) -> None:  # noqa: FBT002
    """End a build that is under way.

    The workspaces that wait for it fail, with that as the reason. The layers that are made already are kept.
    """
    answer = _call(lambda client: client.call("DELETE", path_of("images", "builds", build)))
    if as_json:
        print_json(answer)
    else:
        print(answer["status"])


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
    body = {"dry_run": dry_run}
    answer = _call(lambda client: client.call("POST", "/images/prune", body, seconds=_PRUNE_SECONDS))
    if as_json:
        print_json(answer)
        return
    _print_items("would remove" if dry_run else "removed", answer["removed"])
    if dry_run:
        _print_items("would keep", answer["kept"])
    print(f"{size(answer['freed'])} freed, {size(answer['total'])} left of a budget of {size(answer['budget'])}")


def _print_items(title: str, items: Any) -> None:
    rows = [[item["kind"], item["name"], size(item["bytes"]), item["why"]] for item in items]
    print_table([title, "name", "size", "why"], rows)
