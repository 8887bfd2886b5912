"""What the container is told: its environment, and config.yaml. Read once, at start."""

import json
import logging
import math
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger(__name__)


class SettingsError(Exception):
    """A variable is missing or wrong; the text names it and gives an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who this agent is, from config.yaml."""

    name: str
    description: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All this agent is told from outside."""

    workspace_id: str
    platform_url: str
    """Of the workspace server, without a slash at the end."""
    hostname: str
    """The name under which the network knows this container."""
    port: int
    configs: Path
    heartbeat_seconds: float
    timeout_seconds: float
    """How long one call to the workspace server may be silent."""
    about: About


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read everything. Raises SettingsError."""
    configs = Path(environ.get("WORKSPACE_CONFIG_PATH") or "/configs")
    return Settings(
        workspace_id=_required(environ, "WORKSPACE_ID", "example: WORKSPACE_ID=try"),
        platform_url=_platform_url(environ),
        hostname=environ.get("HOSTNAME") or socket.gethostname(),
        port=int(_number(environ, "ECHO_PORT", default=8000, low=0, high=65535)),
        configs=configs,
        heartbeat_seconds=_number(environ, "ECHO_HEARTBEAT_SECONDS", default=30, low=0.01, high=60),
        timeout_seconds=_number(environ, "ECHO_TIMEOUT_SECONDS", default=10, low=0.01, high=60),
        about=_about(configs / "config.yaml"),
    )


def _required(environ: Mapping[str, str], name: str, example: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set: the workspace server sets it; {example}")
    return value


def _platform_url(environ: Mapping[str, str]) -> str:
    example = "example: PLATFORM_URL=http://host.docker.internal:8080"
    url = _required(environ, "PLATFORM_URL", example)
    if not _is_plain_address(url):
        # The value is not repeated: it might hold a password.
        raise SettingsError(f"PLATFORM_URL is not a plain http or https address; {example}")
    return url.rstrip("/")


def _is_plain_address(url: str) -> bool:
    if not (url.isascii() and url.isprintable() and re.fullmatch(r"https?://[^\s@?#]+", url)):
        return False
    try:
        parts = urlsplit(url)
        return parts.hostname is not None and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no number
        return False


def _number(environ: Mapping[str, str], name: str, *, default: float, low: float, high: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise SettingsError(f"{name}={text!r} is not a number from {low} to {high}; example: {name}={default}")
    return value


def _about(path: Path) -> About:
    try:
        values = top_level_values(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        log.warning("%s cannot be read (%s): using the defaults of the example", path, error.strerror)
        values = {}
    return About(
        name=values.get("name") or "Echo",
        description=values.get("description") or "Answers with what it was told",
        version=values.get("version") or "1.0.0",
    )


def top_level_values(text: str) -> dict[str, str]:
    """Return the `key: value` pairs of a YAML text that are not indented.

    Deliberately small, so that this example needs no package: it knows comments, quotes and long values that go on in
    indented lines, and leaves out what it does not know (lists, maps, blocks). An agent that reads more of config.yaml
    should use PyYAML.
    """
    values: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if not line.strip() or line[0].isspace():
            lines.append(line.strip())
        elif colon and not key.startswith(("#", "-")):
            lines = values[key.strip()] = [rest.strip()]
    return {key: value for key, lines in values.items() if lines[0] and (value := _scalar(_unfolded(lines)))}


def _unfolded(lines: list[str]) -> str:
    """Join a value's lines as YAML does: a line break is a space, and each empty line is a line break."""
    text, breaks = lines[0], ""
    for line in lines[1:]:
        if not line:
            breaks += "\n"
        elif text.startswith('"') and text.endswith("\\"):  # no break at all, and a backslash before leading spaces
            text = text[:-1] + line.removeprefix("\\" if line.startswith("\\ ") else "")
        else:
            text += (breaks or " ") + line
            breaks = ""
    return text


def _scalar(text: str) -> str:
    if text.startswith('"'):
        try:
            # JSON's string is YAML's, but for a few escapes nobody uses in a name.
            value, _ = json.JSONDecoder(strict=False).raw_decode(text)
        except ValueError:
            return ""
        return str(value)
    if text.startswith("'"):
        value, quote, _ = text[1:].replace("''", "\0").partition("'")
        return value.replace("\0", "'") if quote else ""
    if text.startswith(("#", "|", ">", "[", "{", "&", "*", "!")):
        return ""
    return text.partition(" #")[0].strip()
