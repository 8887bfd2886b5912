"""``workspace-server images``: the images of this server and the builds that make them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from workspace_server.cli.client import Client, open_own_client
from workspace_server.cli.output import ago, print_json, print_table, size
from workspace_server.cli.watch import watch_build

app = typer.Typer(help="Images and their builds.", no_args_is_help=True, rich_markup_mode=None)

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
    """List the images that were built here."""
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


@app.command()
def builds(as_json: Json = False) -> None:  # noqa: FBT002
    """List the builds, newest first."""
    found = _call(lambda client: client.call("GET", "/images/builds"))
    if as_json:
        print_json(found)
        return
    print_table(
        ["build", "runtime", "commit", "state", "took", "started", "reason"],
        [
            [
                build["id"],
                build["runtime"],
                build["commit"][:12],
                build["state"],
                f"{build['seconds']:.1f} s",
                ago(build["started_at"]),
                build["reason"],
            ]
            for build in found
        ],
    )


@app.command()
def build(
    runtime: Runtime,
    force: Annotated[bool, typer.Option("--force", help="Build although the image is there.")] = False,  # noqa: FBT002
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Use no cached layer.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Build a runtime's image ahead of need, and watch it."""
    body = {"runtime": runtime, "force": force, "no_cache": no_cache}

    async def work(client: Client) -> Any:
        begun = await client.call("POST", "/images/builds", body)
        if begun["state"] == "hit":
            return begun
        return await watch_build(client, begun["id"], None if as_json else Console(highlight=False))

    ended = _call(work)
    if as_json:
        print_json(ended)
    else:
        print(f"{'already built' if ended['state'] == 'hit' else 'built'}: {ended['image_id']}")


@app.command()
def explain(runtime: Runtime, as_json: Json = False) -> None:  # noqa: FBT002
    """Say whether the next workspace of a runtime finds its image, and if not, why. Changes nothing."""
    answer = _call(lambda client: client.call("GET", f"/images/explain?runtime={runtime}"))
    if as_json:
        print_json(answer)
        return
    reason = f"{answer['verdict']}: {answer['reason']} {answer['detail']}".rstrip(": ")
    print(f"{runtime}: {reason}")
    if answer["stale"] and (image := answer["image"]):
        print(f"  stale: offline, so the Git host was not asked; built {ago(image['built_at'])}")
    for name, value in answer["parts"].items():
        print(f"  {name:<10}{value}")
    print(f"  {'build id':<10}{answer['build_id']}")


@app.command()
def log(
    build: Build,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the build ends.")] = False,  # noqa: FBT002
) -> None:
    """Print a build's log."""

    async def work(client: Client) -> None:
        if follow:
            async for line in client.lines(f"/images/builds/{build}/log?follow=1"):
                print(line)
        else:
            print(await client.text(f"/images/builds/{build}/log"), end="")

    _call(work)


@app.command()
def cancel(build: Build, as_json: Json = False) -> None:  # noqa: FBT002
    """End a build that is under way."""
    answer = _call(lambda client: client.call("DELETE", f"/images/builds/{build}"))
    if as_json:
        print_json(answer)
    else:
        print(answer["status"])


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Remove what was not used for longest, down to the budget; never what is in use."""
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
