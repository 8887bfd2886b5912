"""The builders that are here, each chosen on purpose instead of the best one."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from workspace_server.concurrency import Deadline
from workspace_server.engine import ImageBuilder
from workspace_server.engine.programs import Survey, tools
from workspace_server.model.build import BuilderKind, BuildFailure, BuildRequest, BuildStep

PATIENCE = 60.0

HOW = {
    BuilderKind.BUILDX: (
        "no buildx plug-in here: install it (Debian 13: docker-buildx), or name its file in MOLECULE_TEST_BUILDX"
    ),
    BuilderKind.BUILDKIT: "no docker command line of 18.09 to 22 here (Debian 12: docker.io)",
    BuilderKind.CLASSIC: "no docker command line here",
}


def surroundings(home: Path) -> Mapping[str, str]:
    """An environment with an empty home, and with the buildx plug-in that ``MOLECULE_TEST_BUILDX`` names."""
    configuration = home / ".docker"
    configuration.mkdir(parents=True)
    if plugin := os.environ.get("MOLECULE_TEST_BUILDX"):
        (configuration / "cli-plugins").mkdir()
        (configuration / "cli-plugins" / "docker-buildx").symlink_to(Path(plugin).resolve(strict=True))
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def builder(found: Survey, kind: BuilderKind, environment: Mapping[str, str], state: Path) -> ImageBuilder:
    """The builder of that kind. Without one the test is skipped, unless one was promised to be here."""
    fitting = tools(found, kind)
    if not fitting:
        promised = kind is BuilderKind.CLASSIC or (kind is BuilderKind.BUILDX and "MOLECULE_TEST_BUILDX" in os.environ)
        (pytest.fail if promised else pytest.skip)(HOW[kind])
    return ImageBuilder(fitting[0], {**environment, "BUILDX_CONFIG": str(state)}, state)


@dataclass
class Build:
    """One build: how it ended, and what was told of it meanwhile."""

    builder: ImageBuilder
    directory: Path
    labels: Mapping[str, str]
    unique: str = field(default_factory=lambda: secrets.token_hex(6))
    outcome: str | BuildFailure | None = None
    steps: list[BuildStep] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    container: str | None = None

    async def run(
        self,
        dockerfile: str,
        *,
        seconds: float = PATIENCE,
        no_cache: bool = False,
        pull: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Build; ``{unique}`` in the Dockerfile keeps other builds' cached steps away."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "Dockerfile").write_text(dockerfile.replace("{unique}", self.unique))
        (self.directory / "data.txt").write_text("data")
        request = BuildRequest(context=self.directory, labels=self.labels, platform=None, no_cache=no_cache, pull=pull)

        def note(container: str | None) -> None:
            self.container = container

        self.outcome = await self.builder.build(
            request,
            Deadline(seconds),
            on_step=self.steps.append,
            on_log=self.lines.append,
            on_output=note,
            pass_fds=pass_fds,
        )
        return self

    @property
    def image_id(self) -> str:
        """The image that was built; fails when none was."""
        assert isinstance(self.outcome, str), self.outcome
        return self.outcome

    @property
    def failure(self) -> BuildFailure:
        """How the build failed; fails when it did not."""
        assert isinstance(self.outcome, BuildFailure), self.outcome
        return self.outcome
