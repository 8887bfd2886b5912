"""A local build, or a pull: what it is made from, how far it is, how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class BuildState(StrEnum):
    """How a build stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HIT = "hit"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (BuildState.QUEUED, BuildState.RUNNING)


class BuildPhase(StrEnum):
    """What a build is doing."""

    QUEUED = "queued"
    RESOLVE = "resolve"
    FETCH = "fetch"
    PULL = "pull"
    BUILD = "build"
    VERIFY = "verify"
    DONE = "done"


class BuildWait(StrEnum):
    """What a queued build waits for."""

    LOCK = "lock"
    """Another server, or a builder that outlived one, makes the same image."""
    PLACE = "place"
    """As many builds run as may run at once."""


class BuilderKind(StrEnum):
    """Which of the docker CLI's three builders does the work, best first."""

    BUILDX = "buildx"
    BUILDKIT = "buildkit"
    CLASSIC = "classic"


class Execution(StrEnum):
    """How an engine runs a platform's programs."""

    NATIVE = "native"
    EMULATED = "emulated"
    IMPOSSIBLE = "impossible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """One instruction of the Dockerfile: ``n`` of ``of``, as the builder counts them. Of a pull, one layer.

    ``seconds`` is None until it ended, and of one that was told to stop because another failed. ``started_at`` is when
    this program heard of it. A layer that the engine had already is ``cached``; ``done_bytes`` of ``total_bytes`` are
    downloaded, where known.
    """

    n: int
    of: int
    name: str
    cached: bool = False
    seconds: float | None = None
    failed: bool = False
    done_bytes: int | None = None
    total_bytes: int | None = None
    started_at: datetime | None = field(default=None, compare=False)

    @property
    def ended(self) -> bool:
        """Whether it ran to its end, well or not."""
        return self.failed or self.seconds is not None


class BuildFault(StrEnum):
    """Whose fault a failed build is, as far as the builder's report tells."""

    STEP = "step"
    """A step of the Dockerfile ended with an exit code, or could not be parsed: the template."""
    BASE_IMAGE = "base_image"
    """The base image could not be pulled: its registry."""
    NO_SPACE = "no_space"
    """The engine's disk is full."""
    PLATFORM = "platform"
    """The engine cannot run the platform's programs."""
    ENGINE = "engine"
    """The engine went away, or answered something unheard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFailure:
    """How a build failed: ``detail`` is the builder's own last word, ``tail`` the last 50 lines of its output."""

    fault: BuildFault
    step: BuildStep | None
    exit_code: int | None
    detail: str
    tail: Sequence[str]
    base_image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What to build: a verified tree with a Dockerfile at its root, labels to stamp, a platform (None: native).

    ``pull``: look base images up at their registries even when they are here.
    """

    context: Path
    labels: Mapping[str, str]
    platform: str | None
    no_cache: bool = False
    pull: bool = False
