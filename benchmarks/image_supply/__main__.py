"""Measure, and print one table: medians of interleaved runs on one machine, and their ratios.

Absolute times say little; ratios do.
"""

import argparse
import asyncio
import os
import platform
from collections.abc import Awaitable, Callable, Sequence

from tests.support.engine import engine

from .bench import Bench, open_bench
from .build import cold_rows, commit_rows
from .create import create_rows
from .crowd import crowd_rows
from .idle import idle_rows
from .look_up import look_up_rows
from .peers import DEVCONTAINER, REPO2DOCKER
from .table import Row, table

_ROWS: dict[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "look-up": look_up_rows,
    "create": create_rows,
    "cold": cold_rows,
    "commit": commit_rows,
    "crowd": crowd_rows,
    "idle": idle_rows,
}


async def measure(runs: int, families: Sequence[str], *, with_peers: bool) -> tuple[list[Row], list[str]]:
    """The rows of these families, and notes on what they were measured with."""
    async with open_bench(runs, with_peers=with_peers) as bench:
        notes = [await _surroundings(bench), *(f"skipped {reason}" for reason in bench.peers.skipped)]
        return [row for family in families for row in await _ROWS[family](bench)], notes


async def _surroundings(bench: Bench) -> str:
    async with engine(bench.address) as api:
        version = (await api.get("/version"))["Version"].partition("+")[0]
    builder = (await bench.server.builds())[0]["builder"]
    git = (await bench.programs.run("git", "--version")).split()[2]
    return (
        f"{os.cpu_count()} cores, {platform.system()}, engine {version}, {builder}, git {git}, Python"
        f" {platform.python_version()}, {DEVCONTAINER}, {REPO2DOCKER}, {bench.runs} runs of each side"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_supply", description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="counted runs of each side (default 11)")
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS), help="which rows (default all)")
    parser.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="install devcontainer and repo2docker for this run, with npm and pip, and measure beside them",
    )
    options = parser.parse_args()
    rows, notes = asyncio.run(measure(options.runs, options.rows, with_peers=options.peers))
    print(table(rows), *notes, sep="\n\n")


if __name__ == "__main__":
    main()
