"""The row of many creates at once, of a runtime that was never built: one fetch, one build, for all of them."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support.build_host import BuildHost, build_host

from .bench import Bench
from .sides import in_turn
from .table import Comparison, Row
from .templates import template

_COUNT = 50
_WHAT = f"{_COUNT} creates at once"


@dataclass(slots=True)
class _Counts:
    """How often each run of ours fetched and built, counted by the Git host and by a step of the build."""

    fetches: list[int] = field(default_factory=list)
    builds: list[int] = field(default_factory=list)

    @property
    def row(self) -> Row:
        """Exactly one of each, in every run."""
        return Row(
            what=_WHAT,
            ours=f"{_shown(self.fetches)} fetch, {_shown(self.builds)} build",
            goal="1 fetch, 1 build",
            reached=set(self.fetches) == set(self.builds) == {1},
        )


def _shown(counts: list[int]) -> str:
    return " or ".join(map(str, sorted(set(counts))))


async def crowd_rows(bench: Bench) -> list[Row]:
    """All POSTs at once to the last ``start`` event, against one build and as many ``docker run -d`` at once."""
    counts = _Counts()
    async with build_host(bench.address) as host:
        sides = {"ours": lambda: _ours(bench, host, counts), "bare": lambda: _bare(bench, host)}
        seconds = await in_turn(max(1, bench.runs // 3), sides)
    against = f"one clone and build + {_COUNT} `docker run -d` at once"
    compared = Comparison(what=_WHAT, against=against, ours=seconds["ours"], theirs=seconds["bare"])
    return [counts.row, compared.at_most(1.3)]


async def _runtime(bench: Bench, host: BuildHost) -> str:
    """A runtime that was never built, and whose build calls the host at a path of its name."""
    runtime = next(bench.fresh)
    step = f"""python3 -c "import urllib.request as u; u.urlopen('{host.url}/{runtime}')" """
    await bench.git.create_template(runtime, template(runtime, dependencies=runtime, code=runtime, step=step))
    return runtime


async def _ours(bench: Bench, host: BuildHost, counts: _Counts) -> float:
    runtime = await _runtime(bench, host)
    before = len(bench.git.pack_requests())
    began = time.time()
    workspaces = await asyncio.gather(*(bench.server.create(runtime) for _ in range(_COUNT)))
    seconds = await bench.started(*workspaces) - began
    counts.fetches.append(len(bench.git.pack_requests()) - before)
    counts.builds.append(host.calls.count(f"/{runtime}"))
    await bench.gone(*workspaces)
    return seconds


async def _bare(bench: Bench, host: BuildHost) -> float:
    runtime, bare = await _runtime(bench, host), bench.bare
    folder = bench.home / f"bare-{runtime}"
    names = [f"{runtime}-{uuid4().hex[:8]}" for _ in range(_COUNT)]
    began = time.time()
    await bench.programs.script(f"{bare.clone(bench.url(runtime), folder)}\n{bare.build(folder, folder.name)}")
    await bench.programs.script("\n".join([*(f"{bare.run(name, folder.name)} &" for name in names), "wait"]))
    seconds = await bench.starts.of(*names) - began
    await bench.programs.script(bare.remove(*names))
    return seconds
