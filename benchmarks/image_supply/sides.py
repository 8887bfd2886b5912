"""Several sides of one comparison, measured in turn."""

from collections.abc import Awaitable, Callable, Mapping

Side = Callable[[], Awaitable[float]]
"""One run of one side; returns the seconds that count, and leaves nothing behind."""


async def in_turn(runs: int, sides: Mapping[str, Side]) -> dict[str, list[float]]:
    """``runs`` counted runs of every side, in turn, after one uncounted run of each."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        await side()
    for _ in range(runs):
        for name, side in sides.items():
            seconds[name].append(await side())
    return seconds
