"""Steps and text out of what builders print: promises that hold for all of them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.engine.progress import LONGEST_LINE, Numbering, readable

from .decoding import BUILDKITS, DECODERS, decode, sample

LOOKS_REAL = st.sampled_from(
    [
        b"#1 [2/4] RUN true",
        b"#1 [a 1/2] FROM b",
        b"#1 DONE 0.1s",
        b"#1 CACHED",
        b"#1 ERROR: no",
        b"#1 0.1 #1 ERROR: no",
        b"{",
        b"}",
        b'{"vertexes": [{"digest": "d", "name": "[1/2] RUN x", "started": "x", "completed": "y", "error": 1}]}',
        b'{"vertexes": [{"digest": ["d"]}, 3], "logs": [{"vertex": "d", "data": "!"}], "statuses": {}}',
        b'{"logs": [{"vertex": "", "data": "\\ud800"}], "vertexes": [{"name": "\\ud800", "started": "1"}]}',
        b'{"vertexes": [{"digest": "e", "name": "[1/1] \\ud800", "started": "1"}]}',
        b"Step 1/2 : RUN x",
        b"Step 2/2 : RUN y",
        b" ---> Using cache",
        b"Successfully built 1",
        b"The command '/bin/sh' returned a non-zero code: 1",
    ]
)


@pytest.mark.parametrize("builder", DECODERS)
@given(lines=st.lists(LOOKS_REAL | st.binary()))
def test_no_output_is_too_broken_to_be_decoded(builder: str, lines: list[bytes]) -> None:
    decoded = decode(builder, lines, ok=False)

    assert all(step.n <= step.of and step.name.encode() is not None for step in decoded.steps)


@pytest.mark.parametrize("builder", BUILDKITS)
def test_a_success_of_buildkit(builder: str) -> None:
    ends = decode(builder, sample(builder, "success")).ends

    assert [(step.n, step.of, step.name, step.failed) for step in ends] == [
        (1, 4, "FROM registry.example.org/library/python:3.11-slim", False),
        (2, 4, "RUN echo out line && echo err line >&2 && printf 'no newline'", False),
        (3, 4, "COPY data.txt /data.txt", False),
        (4, 4, "RUN seq 1 3 && sleep 0.3", False),
    ]


def test_a_success_of_the_classic_builder() -> None:
    ends = decode("classic", sample("classic", "success")).ends

    assert [(step.n, step.of, step.name) for step in ends] == [
        (1, 6, "FROM python:3.11-slim"),
        (2, 6, "RUN echo out line && echo err line >&2 && printf 'no newline'"),
        (3, 6, "COPY data.txt /data.txt"),
        (4, 6, "ENV A=1"),
        (5, 6, "RUN seq 1 3 && sleep 0.3"),
        (6, 6, 'CMD ["true"]'),
    ]


@pytest.mark.parametrize("builder", BUILDKITS)
def test_how_long_a_step_took_is_the_builders_own_figure(builder: str) -> None:
    ends = decode(builder, sample(builder, "success")).ends

    seconds = next(step.seconds for step in ends if step.name.startswith("RUN seq"))
    assert seconds is not None
    assert 0.3 <= seconds < 1


@pytest.mark.parametrize("builder", DECODERS)
def test_a_cached_step_is_told_as_cached(builder: str) -> None:
    ends = decode(builder, sample(builder, "cached")).ends

    assert all(step.cached for step in ends if step.name.startswith(("RUN", "COPY")))


@pytest.mark.parametrize("builder", DECODERS)
def test_a_step_that_ran_is_not_told_as_cached(builder: str) -> None:
    ends = decode(builder, sample(builder, "success")).ends

    assert not any(step.cached for step in ends if step.name.startswith(("RUN", "COPY")))


@pytest.mark.parametrize("builder", DECODERS)
def test_every_step_begins_before_it_ends_and_ends_once(builder: str) -> None:
    steps = decode(builder, sample(builder, "multi-stage")).steps

    order = {n: [step.seconds is not None for step in steps if step.n == n] for n in {step.n for step in steps}}
    assert set(map(tuple, order.values())) == {(False, True)}


@pytest.mark.parametrize("builder", DECODERS)
def test_steps_of_several_stages_are_numbered_through(builder: str) -> None:
    ends = decode(builder, sample(builder, "multi-stage")).ends

    last = max(ends, key=lambda step: step.n)
    assert len({step.n for step in ends}) == len(ends)
    assert all(step.n <= step.of for step in ends)
    assert last.n == last.of


@pytest.mark.parametrize("builder", DECODERS)
def test_a_failing_step_ends_as_failed(builder: str) -> None:
    steps = decode(builder, sample(builder, "failing-run"), ok=False).steps

    assert (steps[-1].failed, steps[-1].name[:11], [step.failed for step in steps[:-1]]) == (
        True,
        "RUN for i i",
        [False] * (len(steps) - 1),
    )


@pytest.mark.parametrize("builder", DECODERS)
def test_the_tail_is_what_the_failing_step_wrote_last(builder: str) -> None:
    tail = decode(builder, sample(builder, "failing-run"), ok=False).decoder.tail

    assert (len(tail), [line for line in tail if not line.startswith("line ") and line != "oh no"]) == (50, [])


@pytest.mark.parametrize("builder", DECODERS)
def test_output_without_a_newline_at_its_end_hides_no_step(builder: str) -> None:
    ends = decode(builder, sample(builder, "unterminated-output"), ok=False).ends

    assert [(step.name, step.failed) for step in ends if step.name.startswith("RUN")] == [
        ("RUN printf one", False),
        ("RUN printf two; exit 7", True),
    ]


@pytest.mark.parametrize("builder", DECODERS)
def test_output_without_a_newline_at_its_end_is_in_the_tail(builder: str) -> None:
    tail = decode(builder, sample(builder, "unterminated-output"), ok=False).decoder.tail

    assert "".join(tail).startswith("two")


@pytest.mark.parametrize("builder", DECODERS)
def test_a_step_in_which_the_engine_went_away_is_still_being_worked_on(builder: str) -> None:
    decoder = DECODERS[builder](lambda _: None)
    for line in sample(builder, "engine-gone"):
        decoder.feed(line)

    assert decoder.working


@pytest.mark.parametrize("builder", DECODERS)
@pytest.mark.parametrize("name", ["success", "cached", "multi-stage"])
def test_after_a_success_nothing_is_being_worked_on(builder: str, name: str) -> None:
    assert not decode(builder, sample(builder, name)).decoder.working


@pytest.mark.parametrize("builder", ["buildx", "buildkit", "classic"])
def test_plain_text_is_passed_on_as_it_is(builder: str) -> None:
    lines = sample(builder, "multi-stage")

    assert decode(builder, lines).text == [line.decode().rstrip("\r") for line in lines]


def test_colours_and_progress_bars_are_taken_out() -> None:
    assert readable(b"\x1b[91m10%\r50%\r100% \xff\x1b[0m\x1b[2K\r") == "100% \ufffd"


@pytest.mark.parametrize("builder", DECODERS)
def test_nothing_that_a_template_writes_reaches_a_terminal_to_be_obeyed(builder: str) -> None:
    evil = "\x1b]52;c;cm0=\x07\x9b2J\x00\x1b[2Jtext"
    vertex = {"digest": "d", "name": f"[1/1] RUN {evil}", "started": "2026-01-01T00:00:00Z"}
    log = {"vertex": "d", "data": base64.b64encode(f"{evil}\n".encode()).decode()}
    plain = [f"#5 [1/1] RUN {evil}", f"#5 0.1 {evil}", f"#5 ERROR: {evil}", f"ERROR: {evil}"]
    lines = {
        "rawjson": [json.dumps({"vertexes": [vertex]}), json.dumps({"logs": [log]}), evil],
        "buildx": plain,
        "buildkit": plain,
        "classic": [f"Step 1/2 : RUN {evil}", evil],
    }[builder]
    decoded = decode(builder, [line.encode() for line in lines], ok=False)

    shown = [*decoded.text, *decoded.decoder.tail, decoded.decoder.last_word, *(step.name for step in decoded.steps)]
    assert any("text" in step.name for step in decoded.steps)
    assert [line for line in shown if not line.isprintable()] == []


@pytest.mark.parametrize("builder", DECODERS)
def test_an_endless_line_is_cut_in_the_tail_and_whole_in_the_text(builder: str) -> None:
    long = b"x" * 100_000
    ends = {"classic": b"Step 1/2 : RUN a", "rawjson": b"text"}
    decoded = decode(builder, [ends.get(builder, b"#5 [1/1] RUN a"), long], ok=False)

    assert (max(map(len, decoded.decoder.tail)), max(map(len, decoded.text))) == (LONGEST_LINE, len(long))


@pytest.mark.parametrize(
    ("builder", "line"),
    [("classic", b"Step 1/2 : RUN %s"), ("buildkit", b"#5 [1/1] RUN %s")],
    ids=["classic", "buildkit"],
)
def test_an_endless_instruction_is_cut(builder: str, line: bytes) -> None:
    steps = decode(builder, [line % (b"x" * 100_000)]).steps

    assert (len(steps[0].name), steps[0].name[:6], steps[0].name[-1]) == (1000, "RUN xx", "…")


def test_a_stage_is_numbered_after_the_stages_that_were_seen_before() -> None:
    numbering = Numbering()
    for vertex in ("[build 2/3] RUN a", "[stage-1 2/2] COPY b", "[build 3/3] RUN c"):
        numbering.place(vertex)

    assert (numbering.place("[stage-1 2/2] COPY b"), numbering.total) == ((5, "COPY b"), 5)


def test_a_from_that_another_build_was_first_to_begin_says_nothing_of_the_number_of_steps() -> None:
    numbering = Numbering()
    for vertex in ("[1/2] FROM a", "[2/5] RUN b"):
        numbering.place(vertex)

    assert numbering.total == 5


@pytest.mark.parametrize("vertex", ["[internal] load .dockerignore", "exporting to image", "[auth] a:pull token for b"])
def test_the_builders_own_work_is_no_step(vertex: str) -> None:
    assert Numbering().place(vertex) is None
