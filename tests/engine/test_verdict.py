"""Whose fault a failed build is, from what builders really printed."""

import pytest

from workspace_server.engine.verdict import Ending, verdict
from workspace_server.model.build import BuildFailure, BuildFault

from .decoding import BUILDKITS, DECODERS, decode, sample


def judged(builder: str, lines: list[bytes], *, returncode: int = 1, foreign_platform: bool = False) -> BuildFailure:
    ending = Ending(returncode=returncode, foreign_platform=foreign_platform)
    return verdict(decode(builder, lines, ok=False).decoder, ending)


@pytest.mark.parametrize("builder", DECODERS)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("failing-run", BuildFault.STEP),
        ("unterminated-output", BuildFault.STEP),
        ("missing-file", BuildFault.STEP),
        ("syntax-error", BuildFault.STEP),
        ("missing-base", BuildFault.BASE_IMAGE),
        ("no-space-in-run", BuildFault.NO_SPACE),
        ("no-space-in-context", BuildFault.NO_SPACE),
        ("engine-gone", BuildFault.ENGINE),
    ],
)
def test_the_fault_is_told_from_what_failed(builder: str, name: str, fault: BuildFault) -> None:
    assert judged(builder, sample(builder, name)).fault is fault


@pytest.mark.parametrize("builder", DECODERS)
def test_a_command_that_failed_is_told_with_its_exit_code(builder: str) -> None:
    failure = judged(builder, sample(builder, "failing-run"))

    assert failure.step is not None
    assert (failure.exit_code, failure.step.n, failure.step.name[:5]) == (3, 3, "RUN f")


@pytest.mark.parametrize("builder", DECODERS)
def test_a_file_that_is_missing_has_no_exit_code(builder: str) -> None:
    failure = judged(builder, sample(builder, "missing-file"))

    assert failure.step is not None
    assert (failure.exit_code, failure.step.name) == (None, "COPY missing /x")


@pytest.mark.parametrize("builder", DECODERS)
def test_a_base_image_is_named_with_the_registrys_answer(builder: str) -> None:
    failure = judged(builder, sample(builder, "missing-base"))

    assert failure.base_image == "registry.example.org/nothing/here:1"
    assert failure.detail.endswith("no such host")


@pytest.mark.parametrize("builder", DECODERS)
@pytest.mark.parametrize("name", ["no-space-in-run", "no-space-in-context"])
def test_a_full_disk_is_told_in_the_line_that_names_the_place(builder: str, name: str) -> None:
    assert "no space left on device" in judged(builder, sample(builder, name)).detail.lower()


@pytest.mark.parametrize("builder", BUILDKITS)
def test_the_image_of_a_dockerfiles_syntax_is_a_base_image_too(builder: str) -> None:
    failure = judged(builder, sample(builder, "missing-frontend"))

    assert (failure.fault, failure.base_image) == (BuildFault.BASE_IMAGE, "registry.example.org/docker/dockerfile:1")


@pytest.mark.parametrize("builder", DECODERS)
def test_what_the_builder_said_is_passed_on_without_its_wrappings(builder: str) -> None:
    failure = judged(builder, sample(builder, "syntax-error"))

    assert failure.detail == "dockerfile parse error line 3: unknown instruction: RUNN"


@pytest.mark.parametrize("builder", DECODERS)
@pytest.mark.parametrize(("foreign", "fault"), [(True, BuildFault.PLATFORM), (False, BuildFault.STEP)])
def test_a_program_that_cannot_be_run_is_the_platforms_fault_only_on_a_foreign_one(
    builder: str, *, foreign: bool, fault: BuildFault
) -> None:
    assert judged(builder, sample(builder, "foreign-program"), foreign_platform=foreign).fault is fault


@pytest.mark.parametrize("builder", DECODERS)
def test_a_client_that_was_killed_is_not_the_templates_fault(builder: str) -> None:
    lines = sample(builder, "success")[:10]

    assert judged(builder, lines, returncode=-9).fault is BuildFault.ENGINE


@pytest.mark.parametrize("builder", DECODERS)
@pytest.mark.parametrize(
    "said",
    [
        b"Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?",
        b"unknown flag: --iidfile",
        b"",
    ],
)
def test_a_client_that_never_reached_the_builder_is_not_the_templates_fault(builder: str, said: bytes) -> None:
    assert judged(builder, [said]).fault is BuildFault.ENGINE


def test_an_export_that_failed_is_not_the_templates_fault() -> None:
    lines = [
        b"#9 exporting to image",
        b"#9 ERROR: failed to write layer",
        b"ERROR: failed to solve: failed to write layer",
    ]

    assert judged("buildx", lines).fault is BuildFault.ENGINE


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b'#5 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1'], 1),
        ([b"#5 ERROR: executor failed running [/bin/sh -c false]: exit code: 137"], 137),
        ([b'#5 ERROR: process "/none" did not complete successfully: exec: "/none": no such file'], None),
    ],
)
def test_a_commands_exit_code_is_found_in_the_words_of_every_version(lines: list[bytes], code: int | None) -> None:
    failure = judged("buildx", [b"#5 [2/2] RUN false", *lines])

    assert (failure.fault, failure.exit_code) == (BuildFault.STEP, code)


@pytest.mark.parametrize(
    ("vertex", "image"),
    [
        (b"[internal] load metadata for a/b:1", "a/b:1"),
        (b"[1/4] FROM a/b:1@sha256:0000", "a/b:1"),
        (b"[build 1/4] FROM a/b:1", "a/b:1"),
        (b"resolve image config for docker-image://a/b:1", "a/b:1"),
        (b"docker-image://a/b:1@sha256:0000", "a/b:1"),
        (b"[auth] a/b:pull token for registry.example.org", "a/b"),
    ],
)
def test_every_look_up_of_an_image_is_a_base_images_fault(vertex: bytes, image: str) -> None:
    failure = judged("buildx", [b"#3 " + vertex, b"#3 ERROR: denied"])

    assert (failure.fault, failure.base_image) == (BuildFault.BASE_IMAGE, image)
