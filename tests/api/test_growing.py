"""A log as it was when it was asked for, whole or a range of it, while it grows."""

import httpx
import pytest

from support.rows import build
from support.server import InProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = b"0123456789"


def logged(app: InProcess, text: bytes = TEXT) -> str:
    record = build(app)
    with app.services.on_engine.builds.open_log(record.id) as log:
        log.write(text)
    return record.id


async def asked(app: InProcess, wanted: str, text: bytes = TEXT, **headers: str) -> httpx.Response:
    sent = httpx.Headers({"Range": wanted, **headers}, encoding="latin-1")
    return await app.call("GET", f"/images/builds/{logged(app, text)}/log", headers=sent)


@pytest.mark.parametrize(
    ("wanted", "content", "where"),
    [
        ("bytes=0-3", b"0123", "0-3"),
        ("bytes=4-", b"456789", "4-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-99", TEXT, "0-9"),
        ("bytes=8-99", b"89", "8-9"),
        ("bytes=9-9", b"9", "9-9"),
        ("Bytes = 0-0", b"0", "0-0"),
        ("bytes=0-999999999999999999", TEXT, "0-9"),
    ],
)
async def test_a_range_is_those_bytes(app: InProcess, wanted: str, content: bytes, where: str) -> None:
    response = await asked(app, wanted)
    assert (response.status_code, response.content) == (206, content)
    assert response.headers["content-range"] == f"bytes {where}/10"
    assert response.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=0-1,4-5", "", "nonsense"])
async def test_what_is_no_single_range_of_bytes_is_the_whole(app: InProcess, wanted: str) -> None:
    response = await asked(app, wanted)
    assert (response.status_code, response.content, response.headers["accept-ranges"]) == (200, TEXT, "bytes")


async def test_a_range_of_an_older_log_is_the_whole_of_this_one(app: InProcess) -> None:
    assert (await asked(app, "bytes=4-", **{"If-Range": '"another"'})).content == TEXT


@pytest.mark.parametrize(
    "wanted",
    ["", "-", "4", "5-4", "a-b", "--4", "0x1-", "1_0-", "-1-2", "\xb2-", "0-1;", "1 - 2", "9" * 400 + "-"],
    ids=lambda wanted: wanted[:9],
)
async def test_a_range_that_is_none_is_refused_in_words(app: InProcess, wanted: str) -> None:
    response = await asked(app, f"bytes={wanted}")
    assert (response.status_code, response.json()["code"], "bytes=0-499" in response.json()["hint"]) == (
        400,
        "invalid_request",
        True,
    )


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-11", "bytes=999999999999999999-", "bytes=-0"])
async def test_a_range_beyond_the_end_says_where_the_end_is(app: InProcess, wanted: str) -> None:
    response = await asked(app, wanted)
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */10")
    assert response.json()["error"] == "the log has no such bytes: it has 10 so far"


async def test_an_empty_log_has_no_ranges(app: InProcess) -> None:
    assert (await asked(app, "bytes=0-", b"")).status_code == 416


async def test_what_is_written_while_it_is_sent_is_not_sent(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than was announced would break the connection."""
    record = logged(app, b"x" * 200_000)
    log = app.services.on_engine.builds.open_log(record)
    from workspace_server.api import growing  # noqa: PLC0415

    send = growing._bytes

    async def growing_meanwhile(path: object, first: int, end: int) -> object:
        async for block in send(path, first, end):  # type: ignore[arg-type]
            log.write(b"y" * 100_000)
            yield block

    monkeypatch.setattr(growing, "_bytes", growing_meanwhile)
    with log:
        response = await app.call("GET", f"/images/builds/{record}/log")
    assert (response.headers["content-length"], response.content == b"x" * 200_000) == ("200000", True)
