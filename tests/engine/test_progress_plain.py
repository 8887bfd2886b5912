"""BuildKit's plain form, where a program's output stands between the builder's own lines."""

import pytest

from .decoding import decode


def test_a_header_that_is_repeated_begins_nothing_anew() -> None:
    steps = decode("buildx", [b"#5 [1/1] RUN a", b"#6 [internal] x", b"#5 [1/1] RUN a", b"#5 DONE 1.0s"]).steps

    assert [step.seconds for step in steps] == [None, 1.0]


@pytest.mark.parametrize("line", [b"#5 0.100 DONE 0.1s", b"#5 0.100 CACHED", b"#5 0.100 ERROR: no", b"DONE 0.1s"])
def test_what_a_program_prints_ends_no_step(line: bytes) -> None:
    assert len(decode("buildx", [b"#5 [1/1] RUN a", line]).steps) == 1


def test_of_what_looks_like_several_ends_of_a_step_the_last_error_counts() -> None:
    lines = [b"#5 [1/1] RUN a", b"#5 0.100 x#5 ERROR: printed", b"#5 ERROR: real"]

    trouble = decode("buildx", lines, ok=False).decoder.trouble

    assert trouble is not None
    assert trouble.error == "real"


def test_of_several_failing_steps_the_first_one_counts() -> None:
    lines = [b"#5 [1/2] RUN a", b"#6 [2/2] RUN b", b"#6 ERROR: first", b"#5 ERROR: second"]

    trouble = decode("buildx", lines, ok=False).decoder.trouble

    assert trouble is not None
    assert trouble.name == "[2/2] RUN b"


def test_a_cancelled_step_is_no_failure() -> None:
    decoded = decode("buildx", [b"#5 [1/1] RUN a", b"#5 CANCELED"], ok=False)

    assert (decoded.decoder.trouble, decoded.decoder.working) == (None, False)


def test_the_clients_error_is_its_last_word_whatever_hints_follow() -> None:
    lines = [b"ERROR: failed to solve: no", b"", b"View build details: https://example.org"]

    assert decode("buildx", lines, ok=False).decoder.last_word == "ERROR: failed to solve: no"
