"""``Silence`` ends what is not heard of any more, and nothing else."""

import asyncio

import pytest

from workspace_server.concurrency import Silence
from workspace_server.errors import DeadlineError


async def test_work_that_is_not_heard_of_is_ended() -> None:
    with pytest.raises(DeadlineError, match=r"pulling it made no progress for 0\.01 s"):
        async with Silence(0.01).limit("pulling it"):
            await asyncio.Event().wait()


async def test_work_that_is_heard_of_goes_on() -> None:
    silence = Silence(1.0)
    async with silence.limit("pulling it"):
        for _ in range(60):
            await asyncio.sleep(0.02)  # 1.2 s in all
            silence.heard()


async def test_a_time_out_of_somebody_else_stays_what_it_is() -> None:
    with pytest.raises(TimeoutError):
        async with Silence(60).limit("pulling it"):
            raise TimeoutError


async def test_what_is_heard_before_and_after_changes_nothing() -> None:
    silence = Silence(60)
    silence.heard()
    async with silence.limit("pulling it"):
        pass
    silence.heard()
