"""Before a build for a foreign platform: whether the engine can run its steps, and at what cost."""

from workspace_server.engine import ImageBuilder
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.words import platform_unsupported
from workspace_server.model.build import Execution

FOREIGN_PATIENCE = 3
"""How many times the stall clock's limit a step has that an emulator may run."""


async def preflight(builder: ImageBuilder, identity: BuildIdentity) -> Execution:
    """How the engine would run the build's steps. Raises SourceError ``platform_unsupported`` where it cannot."""
    found = await builder.execution(identity.platform)
    if found is Execution.IMPOSSIBLE:
        raise platform_unsupported(identity, builder.engine_platform)
    return found


def remark(found: Execution, platform: str, engine_platform: str) -> str | None:
    """What a foreign platform will cost, as a line for people; None for a native one."""
    match found:
        case Execution.EMULATED:
            return f"{platform} is emulated on this {engine_platform} engine: every RUN takes several times as long"
        case Execution.UNKNOWN:
            return f"it is not known whether this {engine_platform} engine can run {platform}: the build tries it"
        case _:
            return None
