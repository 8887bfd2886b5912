"""Work beside other work."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run work beside the body of this context, at most as long as that; its errors are raised when it is left.

    A connection that broke is no error: whoever uses it notices.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])  # not ``await task``: that would swallow a cancellation of our own
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, ConnectionError):
        raise error
