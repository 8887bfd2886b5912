"""The classic builder's form, which has no times, and errors on another pipe."""

from workspace_server.engine.progress_classic import ClassicDecoder

from .decoding import decode


def test_times_are_taken_as_the_lines_come() -> None:
    moments = iter([1.0, 3.5, 3.5, 4.0])
    decoder = ClassicDecoder(lambda _: None, clock=lambda: next(moments))
    decoder.feed(b"Step 1/2 : FROM a")

    ended, _ = decoder.feed(b"Step 2/2 : RUN b")

    assert ended.seconds == 2.5


def test_a_program_that_prints_a_step_begins_none() -> None:
    lines = [b"Step 1/3 : FROM a", b"Step 3/3 : RUN x", b"Step 2/9 : RUN y", b"Step 1/3 : FROM a"]

    assert len(decode("classic", lines).ends) == 1


def test_an_error_that_overtakes_the_last_output_is_still_the_error() -> None:
    said = b"The command '/bin/sh -c make' returned a non-zero code: 2"

    trouble = decode("classic", [b"Step 1/1 : RUN make", said, b"make: *** Error 1"], ok=False).decoder.trouble

    assert trouble is not None
    assert (trouble.error, trouble.tail) == (said.decode(), ("make: *** Error 1",))


def test_the_builders_own_remarks_are_not_in_the_tail() -> None:
    lines = [b"Step 1/1 : RUN x", b" ---> Running in 1", b"out", b"Removing intermediate container 1"]

    assert decode("classic", lines, ok=False).decoder.trouble.tail == ()  # type: ignore[union-attr]
