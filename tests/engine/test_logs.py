"""What containers write, on a real engine; and its framing, byte by byte."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.engine import Engine, EngineAddress
from workspace_server.engine.logs import LARGEST_LOG, LONGEST_LINE, Frames
from workspace_server.errors import NotFoundError
from workspace_server.model.container import ContainerFile, ContainerSpec

from .conftest import build_image

WIDE = f"""\
FROM python:3.11-slim
CMD head -c {LARGEST_LOG + 5} /dev/zero | tr '\\0' x
"""
STOP = ContainerFile(path="/configs/stop", content=b"")
FRAME = b"\x01\0\0\0\0\0\0\x05hello"


@pytest.fixture(scope="module")
def wide_id(address: EngineAddress, labels: Mapping[str, str]) -> str:
    """An image whose container writes one line, a little longer than what is kept of a log."""
    return asyncio.run(build_image(address.url, WIDE, labels))


async def ended(engine: Engine, spec: ContainerSpec) -> str:
    """A container that said ``ready`` and ``oops`` and ended."""
    container_id = await engine.create_container(spec)
    await engine.copy_files(container_id, [STOP])
    await engine.start(container_id)
    await engine.wait_exit(container_id)
    return container_id


@pytest.mark.engine
async def test_the_log_has_both_streams(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await ended(engine, spec)

    assert sorted((await engine.logs_tail(container_id, 50)).splitlines()) == ["oops", "ready"]


@pytest.mark.engine
async def test_the_log_is_cut_to_its_last_lines(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await ended(engine, spec)

    assert len((await engine.logs_tail(container_id, 1)).splitlines()) == 1


@pytest.mark.engine
async def test_the_log_of_no_container_is_an_error(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.logs_tail("none-such", 5)


@pytest.mark.engine
async def test_a_followed_log_goes_on_until_the_container_ends(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await engine.create_container(spec)
    await engine.start(container_id)
    lines = []
    async for line in engine.follow_log(container_id, 50):
        lines.append(line)
        if len(lines) == 2:
            await engine.copy_files(container_id, [STOP])

    assert (sorted(lines), (await engine.wait_exit(container_id))) == (["oops", "ready"], 7)


@pytest.mark.engine
async def test_a_followed_log_may_begin_with_what_is_written_next(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await ended(engine, spec)

    assert [line async for line in engine.follow_log(container_id, 0)] == []


@pytest.mark.engine
async def test_following_no_container_is_an_error(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await anext(engine.follow_log("none-such", 5))


@pytest.mark.engine
async def test_a_log_of_endless_lines_is_bounded(engine: Engine, spec: ContainerSpec, wide_id: str) -> None:
    container_id = await ended(engine, replace(spec, image_id=wide_id))
    lines = [line async for line in engine.follow_log(container_id, 1000)]  # it counts what the engine cuts as well

    assert len(await engine.logs_tail(container_id, 1000)) == LARGEST_LOG
    assert ("".join(lines).count("x"), max(map(len, lines)) < 2 * LONGEST_LINE) == (LARGEST_LOG + 5, True)


def test_a_frame_that_was_cut_off_is_kept_as_far_as_it_goes() -> None:
    assert texts([FRAME + FRAME[:-2]]) == b"hellohel"


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=8), st.integers(1, 30))
def test_frames_are_the_same_however_they_are_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    raw = b"".join(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for stream, text in frames)
    chunks = [raw[start : start + size] for start in range(0, len(raw), size)]

    assert texts(chunks) == b"".join(text for _, text in frames)


@given(st.binary())
def test_no_log_is_too_broken_to_be_read(raw: bytes) -> None:
    assert len(texts([raw])) <= len(raw)


def texts(chunks: Sequence[bytes]) -> bytes:
    frames = Frames()
    return b"".join(text for chunk in chunks for _, text in frames.feed(chunk))
