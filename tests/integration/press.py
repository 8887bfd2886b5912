"""Images of the example's agent, made and pushed while a server runs."""

import secrets
import shutil
from asyncio.subprocess import DEVNULL
from dataclasses import dataclass, field
from pathlib import Path

from support.processes import running
from support.registry import Registry

ECHO = Path(__file__).parents[2] / "examples/echo"
AGENT = '''
"""Says what it was told; of "wait" when somebody lets it."""
import pathlib, time
SKILLS = []
def answer(text):
    while text == "wait" and not pathlib.Path("/workspace/go").exists():
        time.sleep(0.02)
    return text
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Makes images of the example's agent and pushes them, each one another."""

    hub: Registry
    directory: Path
    engine_url: str
    label: str = field(default_factory=lambda: f"roll-{secrets.token_hex(6)}")

    @property
    def prefix(self) -> str:
        return f"{self.hub.host}/team"

    async def push(self, runtime: str = "echo") -> str:
        """Build and push an image, and return its id; when it is the newest, it is not on the engine any more."""
        tree = self.directory / secrets.token_hex(4)
        shutil.copytree(ECHO, tree)
        (tree / "echo_adapter/agent.py").write_text(AGENT)
        with (tree / "Dockerfile").open("a") as dockerfile:
            dockerfile.write(f"\nENV ECHO_HEARTBEAT_SECONDS=0.2 MARK={tree.name}\n")
        name = f"{self.prefix}/workspace-template-{runtime}:next"
        mark = f"molecule.image.runtime={self.label}"
        built = tree / "id"
        await self._docker(
            "build", "--network=none", f"--label={mark}", f"--tag={name}", f"--iidfile={built}", str(tree)
        )
        await self._docker("push", "--quiet", name)
        await self._docker("image", "rm", name)
        await self.hub.name(f"team/workspace-template-{runtime}", "next", "latest")
        return built.read_text()

    async def _docker(self, *arguments: str) -> None:
        environment = {"DOCKER_HOST": self.engine_url, "HOME": str(self.directory), "PATH": "/usr/bin:/bin"}
        async with running("docker", *arguments, env=environment, stdout=DEVNULL) as process:
            assert await process.wait() == 0, arguments
