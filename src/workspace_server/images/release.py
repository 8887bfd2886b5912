"""After a build was cancelled: has the engine let go of its step."""

import asyncio
import time

import structlog

from workspace_server.engine import Engine
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.build import BuildStep

log = structlog.get_logger(__name__)

SECONDS = 4.0
_PAUSE = 0.1


async def see_it_end(engine: Engine, step: BuildStep) -> None:
    """Wait until the engine has ended the step, for a while, and log how that went. Raises nothing.

    A step that goes on is no failure: a build of somebody else may share it.
    """
    about, began = log.bind(step=step.name), time.monotonic()
    try:
        async with asyncio.timeout(SECONDS):
            while await engine.runs_step(step.name):  # noqa: ASYNC110 - the engine tells nobody
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        about.warning(f"local-build: the engine still works on a cancelled step after {SECONDS:g} s")
    except WorkspaceServerError as error:
        about.warning("local-build: the engine did not say whether a cancelled step ended", error=error.message)
    else:
        about.info(f"local-build: the engine has ended the cancelled step ({time.monotonic() - began:.1f} s)")
