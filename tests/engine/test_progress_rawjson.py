"""BuildKit's JSON form, and the text that is made of it."""

import base64
import json
from typing import Any

import pytest

from .decoding import Decoded, decode, sample

DIGEST = "sha256:" + "1" * 64
START = "2026-01-01T00:00:00.123456789Z"


def one_a_line(lines: list[bytes]) -> list[bytes]:
    """The same objects, each on a line of its own, as later versions of buildx print them."""
    text, decoder = b"\n".join(lines).decode(), json.JSONDecoder()
    found = []
    while text.startswith("{"):
        message, end = decoder.raw_decode(text)
        found.append(json.dumps(message).encode())
        text = text[end:].lstrip()
    return [*found, *text.encode().splitlines()]


def vertex(**fields: Any) -> bytes:
    return json.dumps({"vertexes": [{"digest": DIGEST, "name": "[2/2] RUN a", **fields}]}).encode()


def wrote(text: bytes, timestamp: str = START) -> bytes:
    log = {"vertex": DIGEST, "stream": 1, "data": base64.b64encode(text).decode(), "timestamp": timestamp}
    return json.dumps({"logs": [log]}).encode()


def text_of(*lines: bytes) -> list[str]:
    return decode("rawjson", lines).text


@pytest.mark.parametrize("name", ["success", "failing-run", "multi-stage", "missing-base", "syntax-error"])
def test_objects_over_many_lines_and_on_one_line_say_the_same(name: str) -> None:
    lines = sample("rawjson", name)

    def everything(decoded: Decoded) -> tuple[Any, ...]:
        return decoded.text, decoded.steps, decoded.decoder.trouble, decoded.decoder.last_word

    assert everything(decode("rawjson", one_a_line(lines))) == everything(decode("rawjson", lines))


@pytest.mark.parametrize("name", ["success", "failing-run", "multi-stage"])
def test_the_text_reads_like_the_plain_form(name: str) -> None:
    text = decode("rawjson", sample("rawjson", name)).text

    assert decode("buildx", [line.encode() for line in text]).ends != []
    assert [(step.n, step.name, step.failed) for step in decode("buildx", map(str.encode, text)).ends] == [
        (step.n, step.name, step.failed) for step in decode("rawjson", sample("rawjson", name)).ends
    ]


def test_what_a_program_wrote_stands_in_the_text_with_its_time() -> None:
    text = text_of(vertex(started=START), wrote(b"one\ntw", "2026-01-01T00:00:01.623Z"), wrote(b"o\n"))

    assert text == ["#1 [2/2] RUN a", "#1 1.500 one", "#1 0.000 two"]


def test_a_line_without_an_end_is_written_when_its_step_ends() -> None:
    text = text_of(vertex(started=START), wrote(b"one"), vertex(started=START, completed=START))

    assert text == ["#1 [2/2] RUN a", "#1 0.000 one", "#1 DONE 0.0s"]


def test_a_step_that_was_told_to_stop_is_no_failure() -> None:
    stopped = vertex(started=START, completed=START, error="process did not complete: context canceled")

    decoded = decode("rawjson", [vertex(started=START), stopped], ok=False)

    assert (decoded.decoder.trouble, decoded.text[-1]) == (None, "#1 CANCELED")


def test_braces_that_are_no_json_are_text() -> None:
    assert text_of(b"{", b"  broken", b"}", b"end") == ["{", "  broken", "}", "end"]


def test_how_many_steps_there_are_is_known_before_the_first_one_begins() -> None:
    steps = decode("rawjson", sample("rawjson", "multi-stage")).steps

    assert {step.of for step in steps} == {9}
