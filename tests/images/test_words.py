"""A failed build in the words that reach its user: whole sentences, a stable code, the right family."""

import pytest

from workspace_server.engine.faults import HOW_TO_START
from workspace_server.errors import (
    ConflictError,
    DeadlineError,
    SourceError,
    TemplateError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.images.words import build_cancelled, build_error, build_stalled, too_long
from workspace_server.model.build import BuildFailure, BuildFault, BuildStep

from .making import COMMIT, URL, identity, template

LOG = "/images/builds/01J/log"
ENGINE = "unix:///run/e.sock"
OF = f"local-build mode: the image of hermes ({URL} at {COMMIT[:12]})"
STEP = BuildStep(n=3, of=7, name="RUN pip install x", seconds=1.0, failed=True)


def failure(fault: BuildFault, **others: object) -> BuildFailure:
    fields = {"step": None, "exit_code": None, "detail": "what the builder said", "tail": ("one", "two"), **others}
    return BuildFailure(fault=fault, **fields)  # type: ignore[arg-type]


def said_of(what: BuildFailure) -> WorkspaceServerError:
    return build_error(what, identity(template()), log=LOG, engine=ENGINE, engine_platform="linux/arm64")


WORDS = {
    BuildFault.STEP: (
        TemplateError,
        "build_failed",
        f"{OF} failed to build: step 3 of 7, RUN pip install x: exit code 23\none\ntwo",
        f"the whole log: GET {LOG}; repair the template and commit, or try again if a download failed",
    ),
    BuildFault.BASE_IMAGE: (
        SourceError,
        "base_image_unavailable",
        f"{OF} cannot be built: base image python:3.11-slim could not be pulled: what the builder said",
        f"check that this machine reaches the base image's registry, or make the image; log: GET {LOG}",
    ),
    BuildFault.NO_SPACE: (
        UnavailableError,
        "no_space",
        (
            f"{OF} cannot be built: no space left where the container engine builds: step 3 of 7, RUN pip install x:"
            " what the builder said"
        ),
        (
            "make room there: docker system df shows what takes it, workspace-server images prune and docker builder"
            f" prune free it; log: GET {LOG}"
        ),
    ),
    BuildFault.PLATFORM: (
        SourceError,
        "platform_unsupported",
        f"{OF} cannot be built: the container engine is linux/arm64 and cannot run programs of linux/amd64",
        (
            "enable emulation on the engine's machine (binfmt_misc with qemu; on Debian and Ubuntu: sudo apt-get"
            " install qemu-user-static), or choose another platform with MOLECULE_IMAGE_PLATFORM (empty: the engine's"
            " own)"
        ),
    ),
    BuildFault.ENGINE: (
        UnavailableError,
        "engine_unavailable",
        f"{OF} was not built: the container engine at {ENGINE} did not finish it: what the builder said",
        f"{HOW_TO_START}; log: GET {LOG}",
    ),
}
MORE = {
    BuildFault.STEP: {"step": STEP, "exit_code": 23},
    BuildFault.BASE_IMAGE: {"base_image": "python:3.11-slim"},
    BuildFault.NO_SPACE: {"step": STEP, "exit_code": 1},
}


def test_every_fault_has_words() -> None:
    assert set(WORDS) == set(BuildFault)


@pytest.mark.parametrize("fault", BuildFault)
def test_a_fault_says_what_happened_whose_fault_it_is_and_what_to_do(fault: BuildFault) -> None:
    error = said_of(failure(fault, **MORE.get(fault, {})))

    assert (type(error), error.code, error.message, error.hint) == WORDS[fault]


def test_a_step_without_an_exit_code_says_what_the_builder_said() -> None:
    error = said_of(failure(BuildFault.STEP, step=STEP, tail=()))

    assert error.message == f"{OF} failed to build: step 3 of 7, RUN pip install x: what the builder said"


def test_a_dockerfile_that_was_refused_before_its_first_step_says_why() -> None:
    error = said_of(failure(BuildFault.STEP, tail=()))

    assert error.message == f"{OF} failed to build: what the builder said"


def test_a_build_that_took_too_long_says_where_it_was_and_which_variable_decides() -> None:
    error = too_long(identity(template()), "step 3 of 7, RUN pip install x", 3600)

    assert (type(error), error.code, error.message, error.hint) == (
        DeadlineError,
        "build_timeout",
        f"{OF} was not built within 3600 s; it was at: step 3 of 7, RUN pip install x",
        "MOLECULE_LOCAL_BUILD_MAX_SECONDS sets the limit",
    )


def test_a_build_that_stalled_says_in_which_step_for_how_long_and_which_variable_decides() -> None:
    error = build_stalled(identity(template()), STEP, 300)

    assert (type(error), error.code, error.message, error.hint) == (
        DeadlineError,
        "build_stalled",
        (
            f"{OF} was not built: silent for 300 s, and no work that the engine can show, in step 3 of 7,"
            " RUN pip install x"
        ),
        "try again; MOLECULE_LOCAL_BUILD_STALL_SECONDS sets the limit (3 times as long on a foreign platform)",
    )


def test_a_build_that_a_person_ended_says_where_it_was_and_who_it_was() -> None:
    error = build_cancelled(identity(template()), "step 3 of 7, RUN pip install x", "the owner")

    assert (type(error), error.code, error.message, error.hint) == (
        ConflictError,
        "build_cancelled",
        f"{OF} was not built: the owner cancelled it; it was at: step 3 of 7, RUN pip install x",
        "create the workspace again to build it again",
    )


@pytest.mark.parametrize(
    ("answer", "when"),
    [
        ("pulling from host r failed with status code [manifests 1]: 429 Too Many Requests", None),
        ("toomanyrequests: You have reached your pull rate limit. See https://registry.example.org", None),
        ("toomanyrequests: retry-after: 4 min, allowed: 44000/minute", "retry after 4 min"),
        ("429 Too Many Requests - Retry-After 60", "retry after 60"),
    ],
)
def test_a_registry_that_limits_pulls_is_named_as_such_with_until_when_if_it_says_so(answer: str, when: str) -> None:
    limited = failure(BuildFault.BASE_IMAGE, base_image="a/b:1", detail=answer)
    error = said_of(limited)

    assert error.message == f"{OF} cannot be built: base image a/b:1 could not be pulled: {answer}"
    assert error.hint == (
        f"the registry limits pulls ({when or 'its answer does not say until when'}): wait, or docker login as the user"
        f" of this server, or make the image; log: GET {LOG}"
    )


def test_a_builder_that_said_nothing_leaves_no_gap() -> None:
    error = said_of(failure(BuildFault.ENGINE, detail=""))

    assert error.message == (
        f"{OF} was not built: the container engine at {ENGINE} did not finish it: its client ended without a word"
    )
