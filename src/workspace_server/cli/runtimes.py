"""``workspace-server runtimes``."""

import asyncio
from typing import Any

from workspace_server.cli.client import open_own_client
from workspace_server.cli.output import built, print_json, print_table


def print_runtimes(*, as_json: bool) -> None:
    """Print the server's runtimes: where their images come from, whether one can be had now, and if not, why."""
    runtimes = asyncio.run(_ask())
    if as_json:
        print_json(runtimes)
        return
    print_table(
        ["runtime", "source", "image", "built", "can be provisioned"],
        [
            [
                runtime["name"],
                runtime["image_source"],
                _version(runtime["image"]),
                built(runtime["image"]) if runtime["image"] else "",
                "yes" if runtime["provisionable"] else f"no: {runtime['reason']['error']}",
            ]
            for runtime in runtimes
        ],
    )


def _version(image: Any) -> str:
    """What an image is called where it comes from: a commit, or a digest in its registry; short."""
    if not image:
        return ""
    return str(image["commit"] or image["digest"] or image["id"]).removeprefix("sha256:")[:12]


async def _ask() -> Any:
    async with open_own_client() as client:
        return await client.call("GET", "/runtimes")
