"""A failed build in the words that reach its user: whole sentences, a stable code, the right family."""

import pytest

from workspace_server.errors import DeadlineError, SourceError, TemplateError, UnavailableError
from workspace_server.images.words import build_error, no_space, too_long
from workspace_server.model.build import BuildFailure, BuildFault, BuildStep

from .making import COMMIT, URL, identity, template

LOG = "/images/builds/01J/log"
OF = f"local-build mode: the image of hermes ({URL} at {COMMIT[:12]})"
STEP = BuildStep(n=3, of=7, name="RUN pip install x", seconds=1.0, failed=True)


def failure(fault: BuildFault, **others: object) -> BuildFailure:
    fields = {"step": None, "exit_code": None, "detail": "what the builder said", "tail": ("one", "two"), **others}
    return BuildFailure(fault=fault, **fields)  # type: ignore[arg-type]


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
        f"{OF} cannot be built: the container engine's disk is full",
        "make room: docker system prune, docker builder prune",
    ),
    BuildFault.PLATFORM: (
        SourceError,
        "platform_unsupported",
        f"{OF} cannot be built: the container engine cannot run programs of linux/amd64",
        "enable emulation (binfmt_misc with qemu), or build natively with MOLECULE_IMAGE_PLATFORM=",
    ),
    BuildFault.ENGINE: (
        UnavailableError,
        "engine_unavailable",
        f"{OF} was not built: the container engine went away: what the builder said",
        f"start the container engine; log: GET {LOG}",
    ),
}
MORE = {
    BuildFault.STEP: {"step": STEP, "exit_code": 23},
    BuildFault.BASE_IMAGE: {"base_image": "python:3.11-slim"},
}


def test_every_fault_has_words() -> None:
    assert set(WORDS) == set(BuildFault)


@pytest.mark.parametrize("fault", BuildFault)
def test_a_fault_says_what_happened_whose_fault_it_is_and_what_to_do(fault: BuildFault) -> None:
    error = build_error(failure(fault, **MORE.get(fault, {})), identity(template()), LOG)

    assert (type(error), error.code, error.message, error.hint) == WORDS[fault]


def test_a_step_without_an_exit_code_says_what_the_builder_said() -> None:
    error = build_error(failure(BuildFault.STEP, step=STEP, tail=()), identity(template()), LOG)

    assert error.message == f"{OF} failed to build: step 3 of 7, RUN pip install x: what the builder said"


def test_a_dockerfile_that_was_refused_before_its_first_step_says_why() -> None:
    error = build_error(failure(BuildFault.STEP, tail=()), identity(template()), LOG)

    assert error.message == f"{OF} failed to build: what the builder said"


def test_a_build_that_took_too_long_says_where_it_was_and_which_variable_decides() -> None:
    error = too_long(identity(template()), "step 3 of 7, RUN pip install x", 3600)

    assert (type(error), error.code, error.message, error.hint) == (
        DeadlineError,
        "build_timeout",
        "local-build mode: the image of hermes was not built within 3600 s; it was at: step 3 of 7, RUN pip install x",
        "MOLECULE_LOCAL_BUILD_MAX_SECONDS sets the limit",
    )


def test_a_full_disk_of_the_server_says_which_place_and_which_variable_moves_it() -> None:
    error = no_space("the build log's directory")

    assert (type(error), error.code, error.message, error.hint) == (
        UnavailableError,
        "no_space",
        "no space left for the build log's directory",
        "make room, or set MOLECULE_LOCAL_BUILD_CACHE to another disk",
    )


def test_a_builder_that_said_nothing_leaves_no_gap() -> None:
    error = build_error(failure(BuildFault.ENGINE, detail=""), identity(template()), LOG)

    assert error.message == f"{OF} was not built: the container engine went away: its client ended without a word"
