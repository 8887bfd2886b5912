"""The stall clock, with an engine that says what a test wants, and a limit of a moment."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, cycle, repeat
from typing import Any, NoReturn

import pytest

from workspace_server.engine import Effort, Efforts
from workspace_server.errors import UnavailableError
from workspace_server.images.stall import StallClock
from workspace_server.model.build import BuildStep

LIMIT = 0.06
FROM = BuildStep(n=1, of=3, name="FROM python:3.11-slim")
RUN = BuildStep(n=2, of=3, name="RUN make")
OTHER = BuildStep(n=3, of=3, name="RUN make install")


class StalledError(Exception):
    """What a test's clock raises."""


@dataclass
class World:
    """An engine that is asked for efforts, and a build that ends after so many questions."""

    answers: Iterable[Efforts | None]
    enough: int = 8
    asked: list[str | None] = field(default_factory=list)
    on_question: Callable[[], None] = lambda: None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._answers = iter(self.answers)
        self.clock = StallClock(seconds=LIMIT, step_efforts=self.step_efforts)

    async def step_efforts(self, container: str | None) -> Efforts | None:
        self.asked.append(container)
        if len(self.asked) == self.enough:
            self.ended.set()
        answer = next(self._answers)
        self.on_question()
        return answer

    async def build(self) -> str:
        await self.ended.wait()
        return "built"

    async def run(self) -> str:
        async with asyncio.timeout(30):
            return await self.clock.over(self.build(), lambda step: StalledError(step.name))


def idle() -> World:
    return World(repeat({"step": Effort(cpu_seconds=1.0, network_bytes=1000)}))


def growing(*, cpu_seconds: float = 0.0, network_bytes: int = 0) -> World:
    """A step that consumes so much between two questions."""
    return World({"step": Effort(cpu_seconds=cpu_seconds * n, network_bytes=network_bytes * n)} for n in count())


async def test_a_step_that_is_silent_and_idle_stalls() -> None:
    world = idle()
    world.clock.note(RUN)
    began = asyncio.get_running_loop().time()

    with pytest.raises(StalledError, match="RUN make"):
        await world.run()
    assert (asyncio.get_running_loop().time() - began >= LIMIT, len(world.asked)) == (True, 2)


async def test_what_stalls_is_cancelled_before_it_is_said() -> None:
    world, cancelled = idle(), asyncio.Event()
    world.clock.note(RUN)

    async def build() -> NoReturn:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    with pytest.raises(StalledError):
        await world.clock.over(build(), lambda step: StalledError(step.name))
    assert cancelled.is_set()


async def test_an_engine_that_shows_no_step_shows_no_work() -> None:
    world = World(repeat({}))
    world.clock.note(RUN)

    with pytest.raises(StalledError):
        await world.run()


@pytest.mark.parametrize("more", [{"cpu_seconds": 1.0}, {"network_bytes": 1_000_000}], ids=["cpu", "network"])
async def test_a_silent_step_that_works_goes_on(more: dict[str, Any]) -> None:
    world = growing(**more)
    world.clock.note(RUN)

    assert await world.run() == "built"


@pytest.mark.parametrize("more", [{"cpu_seconds": 0.0001}, {"network_bytes": 20}], ids=["cpu", "network"])
async def test_what_an_idle_program_consumes_is_no_work(more: dict[str, Any]) -> None:
    world = growing(**more)
    world.clock.note(RUN)

    with pytest.raises(StalledError):
        await world.run()


async def test_one_step_of_several_that_works_is_enough() -> None:
    world = World({"idle": Effort(), "busy": Effort(cpu_seconds=float(n))} for n in count())
    world.clock.note(RUN)

    assert await world.run() == "built"


async def test_a_program_that_has_ended_meanwhile_has_worked() -> None:
    world = World(cycle([{"step": Effort(cpu_seconds=1.0)}, {}]))
    world.clock.note(RUN)

    assert await world.run() == "built"


async def test_while_the_engine_itself_works_a_step_goes_on() -> None:
    world = World(repeat(None))
    world.clock.note(RUN)

    assert await world.run() == "built"


async def test_an_engine_that_cannot_be_asked_ends_no_build() -> None:
    world = idle()

    def away() -> None:
        raise UnavailableError("no answer", code="engine_unavailable")

    world.on_question = away
    world.clock.note(RUN)

    assert await world.run() == "built"


async def test_output_starts_the_clock_anew() -> None:
    """It comes after every first question, so that there never is a second one."""
    world = idle()
    world.on_question = lambda: world.clock.hear(None)
    world.clock.note(RUN)

    assert await world.run() == "built"


async def test_a_new_step_starts_the_clock_anew() -> None:
    world, steps = idle(), (BuildStep(n=n, of=99, name="RUN x") for n in count(3))
    world.on_question = lambda: world.clock.note(next(steps))
    world.clock.note(RUN)

    assert await world.run() == "built"


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (FROM,),
        (RUN, BuildStep(n=2, of=3, name="RUN make", seconds=1.0)),
        (RUN, BuildStep(n=2, of=3, name="RUN make", failed=True)),
    ],
    ids=["none yet", "a base image is pulled", "ended", "failed"],
)
async def test_the_clock_runs_only_while_a_step_of_the_dockerfile_runs(steps: tuple[BuildStep, ...]) -> None:
    world = idle()
    for step in steps:
        world.clock.note(step)
    asyncio.get_running_loop().call_later(5 * LIMIT, world.ended.set)

    assert (await world.run(), world.asked) == ("built", [])


async def test_the_clock_runs_again_with_the_next_step() -> None:
    world = idle()
    world.clock.note(FROM)
    asyncio.get_running_loop().call_later(LIMIT, world.clock.note, RUN)

    with pytest.raises(StalledError, match="RUN make"):
        await world.run()


async def test_of_steps_side_by_side_the_one_that_runs_is_named() -> None:
    world = idle()
    world.clock.note(RUN)
    world.clock.note(OTHER)
    world.clock.note(BuildStep(n=3, of=3, name="RUN make install", seconds=0.0))

    with pytest.raises(StalledError, match=r"^RUN make$"):
        await world.run()


async def test_a_step_that_ends_while_the_engine_is_asked_has_not_stalled() -> None:
    world = idle()
    world.on_question = lambda: (
        len(world.asked) == 2 and world.clock.note(BuildStep(n=2, of=3, name="RUN make", seconds=1.0))
    )
    world.clock.note(RUN)
    asyncio.get_running_loop().call_later(5 * LIMIT, world.ended.set)

    assert (await world.run(), len(world.asked)) == ("built", 2)


async def test_the_engine_is_asked_about_the_container_that_the_builder_told() -> None:
    world = idle()
    world.clock.note(RUN)
    world.clock.hear("0123456789ab")

    with pytest.raises(StalledError):
        await world.run()
    assert world.asked == ["0123456789ab"] * 2


async def test_the_error_of_the_build_itself_is_raised_as_it_is() -> None:
    async def fail() -> str:
        raise LookupError("its own")

    world = idle()
    world.clock.note(RUN)

    with pytest.raises(LookupError, match="its own"):
        await world.clock.over(fail(), lambda step: StalledError(step.name))
