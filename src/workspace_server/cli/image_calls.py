"""What the commands of ``workspace-server images`` do: the images of this server and the builds that make them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rich.console import Console

from workspace_server.cli.client import Client, error_of, open_own_client, path_of
from workspace_server.cli.output import ago, duration, json_text, print_json, print_table, size
from workspace_server.cli.watch import watch_build
from workspace_server.text import plain

_PRUNE_SECONDS = 600.0  # large images go slowly


def _call(work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def calling() -> Any:
        async with open_own_client() as client:
            return await work(client)

    return asyncio.run(calling())


def list_images(*, as_json: bool) -> None:
    """Print the images that were built here."""
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


def list_builds(runtime: str, *, limit: int, as_json: bool) -> None:
    """Print the newest builds, of one runtime or of all ("")."""
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


def build(wish: Mapping[str, Any], *, as_json: bool) -> None:
    """Build an image and show how; ``wish`` is the request's body. Raises the error that the build ended with."""
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


def explain(runtime: str, *, as_json: bool) -> None:
    """Print whether a runtime's image is here, or why not."""
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


def print_log(build: str, *, follow: bool, as_json: bool) -> None:
    """Print a build's log, or follow it to the build's end."""

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


def cancel(build: str, *, as_json: bool) -> None:
    """End a build."""
    answer = _call(lambda client: client.call("DELETE", path_of("images", "builds", build)))
    if as_json:
        print_json(answer)
    else:
        print(answer["status"])


def prune(*, dry_run: bool, as_json: bool) -> None:
    """Remove what was not used for longest, or say what would go."""
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
