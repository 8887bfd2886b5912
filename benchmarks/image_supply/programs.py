"""Programs and shell scripts, run as a person would, with a small environment."""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Runs programs with PATH, the engine's address, and ``home`` as their home."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """What every program sees."""
        engine = {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), **engine}

    async def run(self, *argv: str, environment: Mapping[str, str] | None = None) -> str:
        """What a program writes to stdout and stderr. Raises RuntimeError with it when the program fails."""
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment or self.environment, cwd=self.home, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(argv)} failed:\n{(out + err).decode(errors='replace')[-4000:]}")
        return (out + err).decode(errors="replace").strip()

    async def script(self, text: str) -> str:
        """The same for lines of shell, which end at the first that fails."""
        return await self.run("sh", "-e", "-c", text)
