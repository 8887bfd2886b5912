"""A failed build or pull in the words that reach its user, by whose fault it is."""

import re

from workspace_server.engine.faults import HOW_TO_START
from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    SourceError,
    TemplateError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.images.identity import BuildIdentity, PullIdentity
from workspace_server.model.build import BuildFailure, BuildFault, BuildStep
from workspace_server.runtimes import Template

# Builders pass on the status or the text of a registry's refusal, never its headers.
_LIMITED = re.compile(r"\b429\b|toomanyrequests|too many requests|rate limit", re.IGNORECASE)
_UNTIL = re.compile(r"retry.?after:? *([^,;]+)", re.IGNORECASE)


def build_error(
    failure: BuildFailure, identity: BuildIdentity, *, log: str, engine: str, engine_platform: str
) -> WorkspaceServerError:
    """The error for what the builder reported; ``log`` is where the whole log can be read, ``engine`` its address."""
    detail = failure.detail or "its client ended without a word"
    of = _image(identity)
    match failure.fault:
        case BuildFault.STEP:
            code = failure.exit_code
            ended = detail if code is None or failure.step is None else f"exit code {code}"
            return TemplateError(
                f"{of} failed to build: {_step(failure, ended)}{_tail(failure)}",
                code="build_failed",
                hint=f"the whole log: GET {log}; repair the template and commit, or try again if a download failed",
            )
        case BuildFault.BASE_IMAGE:
            return SourceError(
                f"{of} cannot be built: base image {failure.base_image or ''} could not be pulled: {detail}",
                code="base_image_unavailable",
                hint=f"{_how_to_have_it(detail)}; log: GET {log}",
            )
        case BuildFault.NO_SPACE:
            return UnavailableError(
                f"{of} cannot be built: no space left where the container engine builds: {_step(failure, detail)}",
                code="no_space",
                hint="make room there: docker system df shows what takes it, workspace-server images prune and"
                f" docker builder prune free it; log: GET {log}",
            )
        case BuildFault.PLATFORM:
            return platform_unsupported(identity, engine_platform)
        case BuildFault.ENGINE:
            return UnavailableError(
                f"{of} was not built: the container engine at {engine} did not finish it: {detail}",
                code="engine_unavailable",
                hint=f"{HOW_TO_START}; log: GET {log}",
            )


def platform_unsupported(identity: BuildIdentity, engine_platform: str) -> SourceError:
    """The error for a platform whose programs the engine cannot run."""
    return SourceError(
        f"{_image(identity)} cannot be built: the container engine is {engine_platform} and cannot run programs of"
        f" {identity.platform}",
        code="platform_unsupported",
        hint="enable emulation on the engine's machine (binfmt_misc with qemu; on Debian and Ubuntu: sudo apt-get"
        " install qemu-user-static), or choose another platform with MOLECULE_IMAGE_PLATFORM (empty: the engine's own)",
    )


def too_long(identity: BuildIdentity, step: str, limit: int) -> DeadlineError:
    """The error for a build that its maximum clock ended."""
    return DeadlineError(
        f"{_image(identity)} was not built within {limit} s; it was at: {step}",
        code="build_timeout",
        hint="MOLECULE_LOCAL_BUILD_MAX_SECONDS sets the limit",
    )


def build_stalled(identity: BuildIdentity, step: BuildStep, limit: float) -> DeadlineError:
    """The error for a build that its stall clock ended."""
    return DeadlineError(
        f"{_image(identity)} was not built: silent for {limit:g} s, and no work that the engine can show, in step"
        f" {step.n} of {step.of}, {step.name}",
        code="build_stalled",
        hint="try again; MOLECULE_LOCAL_BUILD_STALL_SECONDS sets the limit (3 times as long on a foreign platform)",
    )


def build_cancelled(identity: BuildIdentity, step: str, who: str) -> ConflictError:
    """The error for a build that a person ended; ``who`` says which one."""
    return ConflictError(
        f"{_image(identity)} was not built: {who} cancelled it; it was at: {step}",
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


def pull_stalled(identity: PullIdentity, step: str, limit: int) -> DeadlineError:
    """The error for a pull that the engine told nothing of any more."""
    return DeadlineError(
        f"the pull of the image {identity.reference} made no progress for {limit} s; it was at: {step}",
        code="pull_stalled",
        hint="the registry or the way to it is stuck; MOLECULE_IMAGE_PULL_STALL_SECONDS sets the limit",
    )


def pull_too_long(identity: PullIdentity, step: str, limit: int) -> DeadlineError:
    """The error for a pull that its maximum clock ended."""
    return DeadlineError(
        f"the image {identity.reference} was not pulled within {limit} s; it was at: {step}",
        code="pull_timeout",
        hint="MOLECULE_IMAGE_PULL_MAX_SECONDS sets the limit",
    )


def pull_cancelled(identity: PullIdentity, step: str, who: str) -> ConflictError:
    """The error for a pull that a person ended; ``who`` says which one."""
    return ConflictError(
        f"the image {identity.reference} was not pulled: {who} cancelled it; it was at: {step}",
        code="pull_cancelled",
        hint="create the workspace again to pull it again",
    )


def _image(identity: BuildIdentity) -> str:
    template = identity.template
    return f"local-build mode: the image of {template.runtime} ({template.url} at {identity.commit[:12]})"


def _how_to_have_it(answer: str) -> str:
    """What to do for a base image whose registry answered this."""
    if not _LIMITED.search(answer):
        return "check that this machine reaches the base image's registry, or make the image"
    until = _UNTIL.search(answer)
    when = f"retry after {until[1].strip()}" if until else "its answer does not say until when"
    return f"the registry limits pulls ({when}): wait, or docker login as the user of this server, or make the image"


def _step(failure: BuildFailure, ended: str) -> str:
    """How a build ended, and in which step where it was in one."""
    return f"step {failure.step.n} of {failure.step.of}, {failure.step.name}: {ended}" if failure.step else ended


def _tail(failure: BuildFailure) -> str:
    return "".join(f"\n{line}" for line in failure.tail)
