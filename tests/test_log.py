"""What a log line looks like, and what is never in one."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.log import MASK, MaskSecrets, configure_logging

Configure = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Send the logs to a new stream; afterwards logging is as it was."""
    root = logging.getLogger()
    loggers = [
        logging.getLogger(),
        *(logging.getLogger(name) for name in ("httpx", "httpcore", "aiosqlite", "alembic")),
    ]
    loggers += [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    levels = [logger.level for logger in loggers]
    handlers, configuration = root.handlers, structlog.get_config()

    def send(stream: io.StringIO | None = None, **options: Any) -> io.StringIO:
        stream = stream or io.StringIO()
        configure_logging(stream=stream, **options)
        return stream

    yield send
    structlog.configure(**configuration)
    root.handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail_with(message: str) -> None:
    raise ValueError(message)


def log_failure(logger: Any, message: str) -> None:
    try:
        fail_with(message)
    except ValueError:
        logger.exception("it failed")


def test_an_event_is_one_json_object_on_one_line(configure: Configure) -> None:
    stream = configure(form="json")
    structlog.get_logger("t").info("built", runtime="echo", text="a\nb", seconds=1.5)

    [entry] = entries(stream)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "built", "level": "info", "runtime": "echo", "text": "a\nb", "seconds": 1.5}


def test_a_failure_with_its_traceback_is_one_line_of_json(configure: Configure) -> None:
    stream = configure(form="json")
    log_failure(structlog.get_logger("t"), "no")

    [entry] = entries(stream)
    assert entry["exception"].splitlines()[-1] == "ValueError: no"


def test_the_standard_librarys_logs_look_the_same(configure: Configure) -> None:
    stream = configure(form="json")
    logging.getLogger("somebody").warning("lost %s of %d", "one", 2)

    [entry] = entries(stream)
    assert (entry["event"], entry["level"]) == ("lost one of 2", "warning")


def test_an_event_for_people_is_one_line_with_the_time_the_words_and_the_values(configure: Configure) -> None:
    stream = configure(form="human")
    structlog.get_logger("t").info("built", runtime="echo", text="a\nb")

    [line] = stream.getvalue().splitlines()
    assert line.split(maxsplit=1)[1] == r"[info     ] built runtime=echo text='a\nb'"


def test_the_form_is_for_people_on_a_terminal(configure: Configure) -> None:
    stream = configure(Terminal())
    structlog.get_logger("t").info("built")

    assert not stream.getvalue().startswith("{")


def test_the_form_is_json_anywhere_else(configure: Configure) -> None:
    stream = configure()
    structlog.get_logger("t").info("built")

    assert entries(stream)[0]["event"] == "built"


def test_json_is_json_on_a_terminal_too(configure: Configure) -> None:
    stream = configure(Terminal(), form="json")
    structlog.get_logger("t").info("built")

    assert entries(stream)[0]["event"] == "built"


def test_what_is_less_important_than_the_level_is_left_out(configure: Configure) -> None:
    stream = configure(form="json", level="warning")
    logger = structlog.get_logger("t")
    logger.info("built")
    logger.warning("slow")

    assert [entry["event"] for entry in entries(stream)] == ["slow"]


@pytest.mark.parametrize("name", ["httpx", "aiosqlite", "alembic", "uvicorn.error"])
def test_chatty_libraries_are_heard_when_they_warn(configure: Configure, name: str) -> None:
    stream = configure(form="json", level="debug")
    logging.getLogger(name).info("a request")
    logging.getLogger(name).warning("a problem")

    assert [entry["event"] for entry in entries(stream)] == ["a problem"]


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize(
    "value",
    [
        "hush",
        "before hush after",
        ["hush"],
        ("hush",),
        {"hush"},
        {"a": {"b": ["x", "hush"]}},
        b"hush",
        ValueError("hush"),
    ],
    ids=repr,
)
def test_a_secret_is_masked_wherever_it_is_in_a_value(configure: Configure, form: str, value: object) -> None:
    stream = configure(form=form, secrets=["hush"])
    structlog.get_logger("t").info("called", value=value)

    assert ("hush" in stream.getvalue(), MASK in stream.getvalue()) == (False, True)


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_secret_is_masked_in_the_words_themselves(configure: Configure, form: str) -> None:
    stream = configure(form=form, secrets=["hush"])
    structlog.get_logger("t").info("the token hush was refused")

    assert "the token *** was refused" in stream.getvalue()


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_secret_is_masked_in_a_traceback(configure: Configure, form: str) -> None:
    stream = configure(form=form, secrets=["hush"])
    log_failure(structlog.get_logger("t"), "refused hush")

    assert ("ValueError: refused ***" in stream.getvalue(), "hush" in stream.getvalue()) == (True, False)


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_secret_is_masked_in_the_standard_librarys_logs(configure: Configure, form: str) -> None:
    stream = configure(form=form, secrets=["hush"])
    logging.getLogger("somebody").warning("the token %s", "hush")
    log_failure(logging.getLogger("somebody"), "refused hush")

    assert ("the token ***" in stream.getvalue(), "hush" in stream.getvalue()) == (True, False)


@pytest.mark.parametrize("form", ["human", "json"])
def test_the_header_that_a_token_makes_is_masked(configure: Configure, form: str) -> None:
    header = "Basic " + base64.b64encode(b"oauth2:hush-and-more").decode()
    stream = configure(form=form, secrets=["hush-and-more"])
    structlog.get_logger("t").warning("git failed", complaint=f"the host says: {header}, go away")

    assert (header[-12:] in stream.getvalue(), "Basic b2F1dGgyOm***" in stream.getvalue()) == (False, True)


@given(
    secret=st.text("abcdef+/=%~é", min_size=6, max_size=30), before=st.binary(max_size=7), after=st.binary(max_size=7)
)
def test_no_secret_survives_inside_base64(secret: str, before: bytes, after: bytes) -> None:
    mask = MaskSecrets([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + secret.encode() + after).decode()
        digits = len(secret.encode()) * 8 // 6 - 2  # that are the secret's alone, at least

        assert len(str(mask.mask(whole)).replace(MASK, "")) <= len(whole) - digits


@pytest.mark.parametrize("secret", ["hu/sh%42", "hu'sh\"42", "hu\nsh-42"])
def test_a_secret_is_masked_where_it_is_quoted(configure: Configure, secret: str) -> None:
    stream = configure(form="json", secrets=[secret])
    structlog.get_logger("t").info("called", url=f"https://h/{quote(secret, safe='')}", error=ValueError([secret]))

    [entry] = entries(stream)
    assert (entry["url"], MASK in entry["error"]) == (f"https://h/{MASK}", True)


def test_a_secret_is_masked_in_the_key_of_a_value(configure: Configure) -> None:
    stream = configure(form="json", secrets=["hush"])
    structlog.get_logger("t").info("called", headers={"x-hush": 1})

    assert entries(stream)[0]["headers"] == {"x-***": 1}


def test_a_short_secret_does_not_mask_what_only_looks_like_its_base64() -> None:
    assert MaskSecrets(["abc"]).mask("YWJj") == "YWJj"


def test_nothing_in_a_line_for_people_is_obeyed_by_their_terminal(configure: Configure) -> None:
    evil = "\x1b]52;c;cm0=\x07a\x9b2Jb\x1b[2Jc"
    stream = configure(form="human")
    structlog.get_logger("t").info(evil, value=evil, values=[evil])
    logging.getLogger("somebody").warning("lost %s", evil)
    log_failure(structlog.get_logger("t"), evil)

    assert [char for char in stream.getvalue() if not char.isprintable() and char != "\n"] == []
    assert stream.getvalue().splitlines()[0].split("] ")[1].startswith("abc value=abc values=")


def test_no_text_looks_like_an_event_of_its_own(configure: Configure) -> None:
    stream = configure(form="human")
    structlog.get_logger("t").info("one\n12:00:00 [info     ] listening", value="x\n12:00:00 [info     ] y")

    assert len(stream.getvalue().splitlines()) == 1


def test_the_longest_of_two_secrets_is_masked_first() -> None:
    mask = MaskSecrets(["hush", "hush-and-more"])

    assert mask.mask("a hush-and-more b hush c") == "a *** b *** c"


def test_numbers_and_nothing_keep_their_type() -> None:
    mask = MaskSecrets(["hush"])

    assert [mask.mask(value) for value in (1, 1.5, True, None)] == [1, 1.5, True, None]


def test_an_empty_secret_masks_nothing() -> None:
    assert MaskSecrets([""])(None, "info", {"event": "built"}) == {"event": "built"}


@given(
    secrets=st.lists(st.text("abc-", min_size=4, max_size=8), min_size=1, max_size=4),
    texts=st.lists(st.text("xyz ", max_size=6), min_size=2, max_size=5),
)
def test_no_known_secret_survives_in_any_text(secrets: list[str], texts: list[str]) -> None:
    text = "".join(f"{part}{secrets[n % len(secrets)]}" for n, part in enumerate(texts))
    masked = str(MaskSecrets(secrets).mask(text))

    assert [secret for secret in secrets if secret in masked] == []
