"""Commands as processes of their own."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping

from .conftest import Ended


async def run(environment: Mapping[str, str], *arguments: str) -> Ended:
    """Run ``workspace-server`` to its end."""
    argv = (sys.executable, "-m", "workspace_server", *arguments)
    variables = {**environment, "COLUMNS": "300"}
    process = await asyncio.create_subprocess_exec(*argv, env=variables, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())
