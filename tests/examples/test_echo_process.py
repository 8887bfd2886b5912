"""How the example starts, ends, and reads what it is told at the start."""

import asyncio
import json
import re
import signal
import time
from pathlib import Path

import pytest
import yaml

from .echo_support import (
    PATIENT_AGENT,
    WAITING_AGENT,
    Adapter,
    Platform,
    bound_socket,
    open_adapter,
    start_adapter,
    text,
    url_of,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ends_within_a_second_of_being_told_to(
    adapter: Adapter,
    platform: Platform,
    number: signal.Signals,
) -> None:
    await platform.heartbeat()

    assert await time_to_end(adapter, number) < 1


async def test_ends_within_a_second_while_the_server_does_not_answer(configs: Path, platform: Platform) -> None:
    platform.hang()
    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        await platform.registered()

        assert await time_to_end(adapter) < 1


async def test_ends_within_a_second_while_it_waits_to_try_again(configs: Path) -> None:
    with bound_socket() as listener:
        async with open_adapter(configs, PLATFORM_URL=url_of(listener)) as adapter:
            await adapter.logged("next try in 2 s")

            assert await time_to_end(adapter) < 1


async def test_ends_within_a_second_although_an_agent_is_still_thinking(configs: Path, platform: Platform) -> None:
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, "-c", WAITING_AGENT, **environment) as adapter, adapter.asking("hello"):
        await platform.heartbeat_where("active_tasks", 1)

        assert await time_to_end(adapter) < 1
        await adapter.logged("WARNING stopped with messages unanswered")


async def test_answers_what_it_is_working_on_before_it_ends(configs: Path, platform: Platform) -> None:
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, "-c", PATIENT_AGENT, **environment) as adapter, adapter.asking("hello") as answer:
        await platform.heartbeat_where("active_tasks", 1)

        adapter.process.send_signal(signal.SIGTERM)
        await adapter.logged("no new messages; 1 being answered")
        adapter.say("the end of the thought")

        assert (await answer)["result"]["parts"] == [text("the end of the thought")]
        assert await adapter.ended() == 0


async def test_logs_each_event_as_one_line_on_standard_output(adapter: Adapter, platform: Platform) -> None:
    await platform.heartbeat()
    await adapter.logged("heartbeat accepted")
    await time_to_end(adapter)

    entry = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|CRITICAL) (.*)")
    port = adapter.url.rpartition(":")[2]
    assert [entry.sub(r"\1 \2", line) for line in adapter.lines] == [
        f"INFO listening on port {port}",
        f"INFO registered as ws-1, reachable at {adapter.url}",
        "INFO heartbeat accepted, one every 0.05 s",
        "INFO stopping: SIGTERM",
        "INFO stopped",
    ]
    assert adapter.errors == []


async def test_needs_nothing_but_pythons_standard_library(configs: Path, platform: Platform) -> None:
    async with open_adapter(configs, "-S", "-m", "echo_adapter", PLATFORM_URL=platform.url):
        await platform.heartbeat()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"WORKSPACE_ID": ""}, "WORKSPACE_ID is not set: the workspace server sets it; example: WORKSPACE_ID=try"),
        ({"PLATFORM_URL": " "}, "PLATFORM_URL is not set: the workspace server sets it; example: PLATFORM_URL=http"),
        ({"ECHO_PORT": "80000"}, "ECHO_PORT='80000' is not a number from 0 to 65535; example: ECHO_PORT=8000"),
        ({"ECHO_HEARTBEAT_SECONDS": "nan"}, "ECHO_HEARTBEAT_SECONDS='nan' is not a number from 0.01 to 60"),
    ],
)
async def test_refuses_to_start_with_a_wrong_setting_and_says_how_it_should_be(
    configs: Path, environment: dict[str, str], complaint: str
) -> None:
    async with start_adapter(configs, **({"PLATFORM_URL": "http://127.0.0.1:1"} | environment)) as adapter:
        assert await adapter.ended() == 2
        assert complaint in await adapter.logged("CRITICAL")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "127.0.0.1:8080",
        "http://",
        "http://user:pass-w0rd@127.0.0.1",
        "http://127.0.0.1:port",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/ü",
        "http://127.0.0.1/a b",
    ],
)
async def test_refuses_a_platform_url_that_is_no_plain_address_without_repeating_it(configs: Path, url: str) -> None:
    async with start_adapter(configs, PLATFORM_URL=url) as adapter:
        assert await adapter.ended() == 2
        assert (await adapter.logged("CRITICAL")).endswith(
            "PLATFORM_URL is not a plain http or https address; example: PLATFORM_URL=http://host.docker.internal:8080"
        )


async def test_says_when_its_port_is_taken(configs: Path) -> None:
    with bound_socket() as listener:
        listener.listen()
        port = url_of(listener).rpartition(":")[2]
        async with start_adapter(configs, PLATFORM_URL=url_of(listener), ECHO_PORT=port) as adapter:
            assert await adapter.ended() == 2
            await adapter.logged(f"cannot listen on port {port} ")


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        pytest.param("name: Plain name # a comment", "Plain name", id="plain, with a comment"),
        pytest.param('name: "A \\"quoted\\": name" # a comment', 'A "quoted": name', id="in double quotes"),
        pytest.param("name: 'It''s: quoted' # a comment", "It's: quoted", id="in single quotes"),
        pytest.param("name: Outer\na:\n  name: Inner", "Outer", id="indented lines are not top level"),
        pytest.param("#name: Commented\n---\nname: C#", "C#", id="a hash inside a word is none"),
        pytest.param("name: |\n  Long\n", "Echo", id="over several lines: the default"),
        pytest.param("name: # nothing", "Echo", id="empty: the default"),
        pytest.param("- name: Item", "Echo", id="a list: the default"),
    ],
)
async def test_reads_its_name_from_config_yaml(configs: Path, platform: Platform, yaml: str, expected: str) -> None:
    (configs / "config.yaml").write_text(yaml)

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        _, card = await adapter.get("/.well-known/agent-card.json")
        assert json.loads(card)["name"] == expected


async def test_reads_its_description_and_version_from_config_yaml(configs: Path, platform: Platform) -> None:
    (configs / "config.yaml").write_text('name: "N"\ndescription: "Does a thing"\nversion: 2.3.4\n')

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        card = json.loads((await adapter.get("/.well-known/agent-card.json"))[1])
        assert (card["description"], card["version"]) == ("Does a thing", "2.3.4")


@pytest.mark.parametrize(
    "description",
    [
        pytest.param("word " * 40 + "end", id="plain"),
        pytest.param("it's: " * 40 + "end", id="single quotes"),
        pytest.param("\t two  spaces, a 'quote' and a \\ " * 10 + "end", id="double quotes"),
        pytest.param("C:\\dir\\ " * 20 + "end", id="backslashes"),
        pytest.param("größer 世界 " * 30 + "end", id="not ASCII"),
        pytest.param("a paragraph\n\nand another\nline " * 5 + "end", id="paragraphs"),
    ],
)
async def test_reads_a_long_description_as_the_server_writes_it(
    configs: Path, platform: Platform, description: str
) -> None:
    config = {"name": "N", "description": description, "runtime_config": {"required_env": []}}
    (configs / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        card = json.loads((await adapter.get("/.well-known/agent-card.json"))[1])
        assert card["description"] == description


async def test_works_without_config_yaml_and_says_so(configs: Path, platform: Platform) -> None:
    (configs / "config.yaml").unlink()

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        await adapter.logged(r"WARNING .*config\.yaml cannot be read \(No such file or directory\)")
        await platform.registered()


async def time_to_end(adapter: Adapter, number: signal.Signals = signal.SIGTERM) -> float:
    """Send the signal, and return the seconds until the process has ended, which it does with code 0."""
    before = time.monotonic()
    adapter.process.send_signal(number)
    assert await adapter.ended() == 0
    elapsed = time.monotonic() - before
    await asyncio.gather(*adapter.readers)
    return elapsed
