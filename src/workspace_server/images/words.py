"""A failed build in the words that reach its user, by whose fault it is."""

from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    SourceError,
    TemplateError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.build import BuildFailure, BuildFault
from workspace_server.runtimes import Template


def build_error(failure: BuildFailure, identity: BuildIdentity, log: str) -> WorkspaceServerError:
    """The error for what the builder reported; ``log`` is where the whole log can be read."""
    template = identity.template
    detail = failure.detail or "its client ended without a word"
    of = f"local-build mode: the image of {template.runtime} ({template.url} at {identity.commit[:12]})"
    match failure.fault:
        case BuildFault.STEP:
            return TemplateError(
                f"{of} failed to build: {_step(failure)}{_tail(failure)}",
                code="build_failed",
                hint=f"the whole log: GET {log}; repair the template and commit, or try again if a download failed",
            )
        case BuildFault.BASE_IMAGE:
            return SourceError(
                f"{of} cannot be built: base image {failure.base_image or ''} could not be pulled: {detail}",
                code="base_image_unavailable",
                hint=f"check that this machine reaches the base image's registry, or make the image; log: GET {log}",
            )
        case BuildFault.NO_SPACE:
            return UnavailableError(
                f"{of} cannot be built: the container engine's disk is full",
                code="no_space",
                hint="make room: docker system prune, docker builder prune",
            )
        case BuildFault.PLATFORM:
            return SourceError(
                f"{of} cannot be built: the container engine cannot run programs of {identity.platform}",
                code="platform_unsupported",
                hint="enable emulation (binfmt_misc with qemu), or build natively with MOLECULE_IMAGE_PLATFORM=",
            )
        case BuildFault.ENGINE:
            return UnavailableError(
                f"{of} was not built: the container engine went away: {detail}",
                code="engine_unavailable",
                hint=f"start the container engine; log: GET {log}",
            )


def too_long(identity: BuildIdentity, step: str, limit: int) -> DeadlineError:
    """The error for a build that its maximum clock ended."""
    return DeadlineError(
        f"local-build mode: the image of {identity.template.runtime} was not built within {limit} s; it was at: {step}",
        code="build_timeout",
        hint="MOLECULE_LOCAL_BUILD_MAX_SECONDS sets the limit",
    )


def build_cancelled(identity: BuildIdentity, step: str) -> ConflictError:
    """The error for a build that a person ended."""
    return ConflictError(
        f"local-build mode: the build of the image of {identity.template.runtime} was cancelled; it was at: {step}",
        code="build_cancelled",
        hint="create the workspace again to build it again",
    )


def nothing_offline(template: Template, platform: str) -> SourceError:
    """The error where the Git host may not be asked and nothing was built before."""
    return SourceError(
        f"local-build mode: offline, and no image of {template.runtime} was built here from {template.url} for"
        f" {platform}",
        code="git_offline",
        hint="unset MOLECULE_LOCAL_BUILD_OFFLINE where the Git host can be reached, and build it once",
    )


def no_space(place: str) -> UnavailableError:
    """The error for a full disk of this server's own."""
    return UnavailableError(
        f"no space left for {place}",
        code="no_space",
        hint="make room, or set MOLECULE_LOCAL_BUILD_CACHE to another disk",
    )


def _step(failure: BuildFailure) -> str:
    if failure.step is None:
        return failure.detail
    ended = f"exit code {failure.exit_code}" if failure.exit_code is not None else failure.detail
    return f"step {failure.step.n} of {failure.step.of}, {failure.step.name}: {ended}"


def _tail(failure: BuildFailure) -> str:
    return "".join(f"\n{line}" for line in failure.tail)
