"""The classic builder's form, which has no times, and errors on another pipe."""

import pytest

from workspace_server.engine.progress_classic import ClassicDecoder
from workspace_server.model.build import BuildStep

from .decoding import decode


def test_times_are_taken_as_the_lines_come() -> None:
    moments = iter([1.0, 3.5, 3.5, 4.0])
    decoder = ClassicDecoder(lambda _: None, clock=lambda: next(moments))
    decoder.feed(b"Step 1/2 : FROM a")

    ended, _ = decoder.feed(b"Step 2/2 : RUN b")

    assert ended.seconds == 2.5


def fed(*lines: bytes, labels: int) -> tuple[ClassicDecoder, list[BuildStep]]:
    decoder = ClassicDecoder(lambda _: None, labels=labels)
    return decoder, [step for line in lines for step in decoder.feed(line)]


@pytest.mark.parametrize("labels", [0, 1, 8])
def test_the_labels_of_the_command_line_are_no_steps(labels: int) -> None:
    stamped = [f"Step {3 + n}/{2 + labels} : LABEL n{n}=1".encode() for n in range(labels)]
    first, last = f"Step 1/{2 + labels} : FROM a".encode(), f"Step 2/{2 + labels} : LABEL mine=1".encode()
    decoder, steps = fed(first, last, *stamped, labels=labels)

    ended = [step for step in [*steps, *decoder.close(ok=True)] if step.seconds is not None]
    assert [(step.n, step.of, step.name) for step in ended] == [(1, 2, "FROM a"), (2, 2, "LABEL mine=1")]


def test_the_last_step_has_ended_when_the_first_label_is_stamped() -> None:
    _, steps = fed(b"Step 1/3 : FROM a", b"Step 2/3 : LABEL x=1", labels=2)

    assert [step.seconds is None for step in steps] == [True, False]


def test_as_long_as_labels_are_stamped_the_builder_is_at_work() -> None:
    decoder, _ = fed(b"Step 1/3 : FROM a", b"Step 2/3 : LABEL x=1", labels=2)
    before = decoder.working
    decoder.close(ok=True)

    assert (before, decoder.working) == (True, False)


def test_a_program_that_prints_a_step_begins_none() -> None:
    lines = [b"Step 1/4 : FROM a", b"Step 3/4 : RUN x", b"Step 2/9 : RUN y", b"Step 1/4 : FROM a"]

    assert len(decode("classic", lines).ends) == 1


def test_an_error_that_overtakes_the_last_output_is_still_the_error() -> None:
    said = b"The command '/bin/sh -c make' returned a non-zero code: 2"

    trouble = decode("classic", [b"Step 1/2 : RUN make", said, b"make: *** Error 1"], ok=False).decoder.trouble

    assert trouble is not None
    assert (trouble.error, trouble.tail) == (said.decode(), ("make: *** Error 1",))


def test_the_builders_own_remarks_are_not_in_the_tail() -> None:
    lines = [b"Step 1/2 : RUN x", b" ---> Running in 1", b"out", b"Removing intermediate container 1"]

    assert decode("classic", lines, ok=False).decoder.trouble.tail == ()  # type: ignore[union-attr]
