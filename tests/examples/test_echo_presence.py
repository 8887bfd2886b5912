"""What the example tells the workspace server, and what it makes of the answers."""

import json
import stat
from pathlib import Path

import pytest

from .echo_support import (
    FAILING_AGENT,
    TOKEN,
    WAITING_AGENT,
    Adapter,
    Platform,
    bound_socket,
    message,
    open_adapter,
    open_platform,
    text,
    url_of,
)

REGISTER = "/registry/register"
HEARTBEAT = "/registry/heartbeat"
NEW_TOKEN = "second-token-b7Qe_x-4"


async def test_registers_with_its_id_its_address_and_its_card(adapter: Adapter, platform: Platform) -> None:
    body = (await platform.registered()).body

    _, card = await adapter.get("/.well-known/agent-card.json")
    assert body == {"id": "ws-1", "url": adapter.url, "agent_card": json.loads(card)}


async def test_registers_under_the_name_of_its_container(configs: Path, platform: Platform) -> None:
    async with open_adapter(configs, PLATFORM_URL=platform.url, HOSTNAME="4f0c1d2e3a5b") as adapter:
        port = adapter.url.rpartition(":")[2]
        assert (await platform.registered()).body["url"] == f"http://4f0c1d2e3a5b:{port}"


async def test_shows_the_token_of_the_file_when_it_registers(adapter: Adapter, platform: Platform) -> None:
    assert (await platform.registered()).headers["Authorization"] == f"Bearer {TOKEN}"


async def test_registers_without_a_token_when_there_is_no_file(configs: Path, platform: Platform) -> None:
    (configs / ".auth_token").unlink()

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        assert "Authorization" not in (await platform.registered()).headers


async def test_ignores_white_space_around_the_token(configs: Path, platform: Platform) -> None:
    (configs / ".auth_token").write_text(f" {TOKEN}\n")

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        assert (await platform.registered()).headers["Authorization"] == f"Bearer {TOKEN}"


async def test_uses_a_token_the_server_sends_from_then_on(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 200, {"status": "registered", "auth_token": NEW_TOKEN})

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        assert (await platform.heartbeat()).headers["Authorization"] == f"Bearer {NEW_TOKEN}"


async def test_keeps_a_token_the_server_sends_where_only_its_user_can_read_it(
    configs: Path, platform: Platform
) -> None:
    platform.answers_to(REGISTER, 200, {"status": "registered", "auth_token": NEW_TOKEN})

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        await platform.heartbeat()
        assert content_and_mode(configs / ".auth_token") == (NEW_TOKEN, 0o600)


async def test_leaves_nothing_else_beside_the_new_token(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 200, {"auth_token": NEW_TOKEN})

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        await platform.heartbeat()
        assert names(configs) == [".auth_token", "config.yaml"]


@pytest.mark.parametrize("value", [None, 7, "", "two words", "line\r\nX-Injected: 1", "ümlaut"])
async def test_keeps_its_token_when_the_answer_has_no_usable_one(
    configs: Path,
    platform: Platform,
    value: object,
) -> None:
    platform.answers_to(REGISTER, 200, {"status": "registered", "auth_token": value})

    async with open_adapter(configs, PLATFORM_URL=platform.url):
        assert (await platform.heartbeat()).headers["Authorization"] == f"Bearer {TOKEN}"
        assert (configs / ".auth_token").read_text() == TOKEN


async def test_waits_for_a_server_that_is_not_there_yet_and_says_so(configs: Path) -> None:
    listener = bound_socket()
    async with open_adapter(configs, PLATFORM_URL=url_of(listener)) as adapter:
        await adapter.logged(r"not registered: http://\S+ cannot be reached \(.*refused.*\); next try in 0.5 s")
        async with open_platform(listener) as platform:
            await platform.registered()
            await adapter.logged("INFO registered as ws-1")


async def test_waits_longer_after_each_failure(configs: Path) -> None:
    with bound_socket() as listener:
        async with open_adapter(configs, PLATFORM_URL=url_of(listener)) as adapter:
            for delay in ("0.5", "1", "2"):
                await adapter.logged(f"not registered: .*; next try in {delay} s")


async def test_gives_up_on_a_server_that_does_not_answer_and_tries_again(configs: Path) -> None:
    async with open_platform() as platform:
        platform.hang()
        async with open_adapter(configs, PLATFORM_URL=platform.url, ECHO_TIMEOUT_SECONDS="0.1") as adapter:
            await adapter.logged(r"not registered: http://\S+ cannot be reached \(timed out\)")
            await platform.registered()
            await platform.registered()


async def test_sends_no_heartbeat_before_it_is_registered(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 503, {"error": "the database is away"})

    async with open_adapter(configs, PLATFORM_URL=platform.url, ECHO_HEARTBEAT_SECONDS="0.05"):
        await platform.registered()
        await platform.registered()
        assert platform.calls[HEARTBEAT].empty()


async def test_sends_the_first_heartbeat_at_once(configs: Path, platform: Platform) -> None:
    async with open_adapter(configs, PLATFORM_URL=platform.url, ECHO_HEARTBEAT_SECONDS="60"):
        assert (await platform.heartbeat()).body == {
            "workspace_id": "ws-1",
            "active_tasks": 0,
            "current_task": "",
            "error_rate": 0.0,
            "sample_error": "",
            "uptime_seconds": 0,
        }


async def test_goes_on_sending_heartbeats(adapter: Adapter, platform: Platform) -> None:
    for _ in range(5):
        assert (await platform.heartbeat()).headers["Authorization"] == f"Bearer {TOKEN}"


async def test_sends_a_heartbeat_every_30_seconds_unless_told_otherwise(configs: Path, platform: Platform) -> None:
    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        await adapter.logged("heartbeat accepted, one every 30 s")


async def test_goes_on_after_heartbeats_that_failed(adapter: Adapter, platform: Platform) -> None:
    platform.answers_to(HEARTBEAT, 500, {"error": "failed to update"})
    await adapter.logged("heartbeat failed: the server says 500 failed to update; next in 0.05 s")
    adapter.lines.clear()

    platform.answers_to(HEARTBEAT, 200, {"status": "ok"})

    await adapter.logged("heartbeat accepted")


async def test_reports_what_it_works_on(configs: Path, platform: Platform) -> None:
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, "-c", WAITING_AGENT, **environment) as adapter, adapter.asking("a" * 100):
        assert (await platform.heartbeat_where("active_tasks", 1)).body["current_task"] == "a" * 60


async def test_is_idle_again_when_it_has_answered(adapter: Adapter, platform: Platform) -> None:
    await adapter.rpc(message(text("hello")))

    platform.forget()
    await platform.heartbeat()  # may have been on its way
    assert (await platform.heartbeat()).body["active_tasks"] == 0


async def test_reports_its_failures_with_one_as_an_example(configs: Path, platform: Platform) -> None:
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, "-c", FAILING_AGENT, **environment) as adapter:
        await adapter.rpc(message(text("hello")))
        body = (await platform.heartbeat_where("error_rate", 1.0)).body

        assert body["sample_error"] == "ValueError: substring not found"


@pytest.mark.parametrize("path", [REGISTER, HEARTBEAT])
async def test_reads_the_token_again_after_a_401_and_tries_with_that(
    configs: Path,
    platform: Platform,
    path: str,
) -> None:
    platform.answers_to(path, 401, {"error": "invalid workspace auth token"})
    environment = {"PLATFORM_URL": platform.url, "ECHO_HEARTBEAT_SECONDS": "0.05"}
    async with open_adapter(configs, **environment) as adapter:
        await adapter.logged("the server says 401")
        (configs / ".auth_token").write_text(NEW_TOKEN)

        await platform.call_where(path, "Authorization", f"Bearer {NEW_TOKEN}")


@pytest.mark.parametrize("content", ["two words", "ümlaut", "a\nb", "\0"])
async def test_does_not_show_what_it_found_instead_of_a_token(configs: Path, platform: Platform, content: str) -> None:
    (configs / ".auth_token").write_text(content)

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        line = await adapter.logged("holds no token")

        assert line.endswith(f"{configs / '.auth_token'} holds no token: going on without")


@pytest.mark.parametrize(
    ("path", "status", "body", "logged"),
    [
        pytest.param(
            REGISTER,
            400,
            {"error": "invalid request body", "code": "invalid", "hint": "send a url"},
            "not registered: the server says 400 invalid request body (hint: send a url); next try in 0.5 s",
            id="with a hint",
        ),
        pytest.param(
            HEARTBEAT,
            429,
            {"error": "rate limit exceeded"},
            "heartbeat failed: the server says 429 rate limit exceeded; next in 30 s",
            id="without a hint",
        ),
        pytest.param(
            REGISTER,
            502,
            "<html>",
            "not registered: the server says 502 Bad Gateway; next try in 0.5 s",
            id="not in the server's words",
        ),
        pytest.param(
            REGISTER,
            307,
            "",
            "the server says 307 Temporary Redirect: redirects are not followed, check PLATFORM_URL; next try in 0.5 s",
            id="a redirect",
        ),
    ],
)
async def test_logs_a_refusal_in_the_servers_own_words(
    configs: Path, platform: Platform, *, path: str, status: int, body: object, logged: str
) -> None:
    platform.answers_to(path, status, body, Location="/elsewhere")

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        assert (await adapter.logged(f"the server says {status}")).endswith(logged)


async def test_does_not_follow_a_redirect_with_its_token(configs: Path, platform: Platform) -> None:
    async with open_platform() as other:
        platform.answers_to(REGISTER, 307, "", Location=f"{other.url}{REGISTER}")
        async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
            await adapter.logged("the server says 307")
            await platform.registered()
            await platform.registered()

            assert not other.calls


async def test_is_not_registered_by_a_server_that_is_something_else(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 200, "<html>welcome</html>")

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        await adapter.logged("not registered: .* answers, but not as a workspace server: check PLATFORM_URL")


async def test_logs_no_token_even_if_the_server_repeats_it(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 200, {"auth_token": NEW_TOKEN})
    platform.answers_to(HEARTBEAT, 400, {"error": f"unexpected {NEW_TOKEN}", "hint": f"not {NEW_TOKEN}"})

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        assert (await adapter.logged("heartbeat failed")).endswith("400 unexpected *** (hint: not ***); next in 30 s")
        assert not [line for line in adapter.lines + adapter.errors if TOKEN in line or NEW_TOKEN in line]


async def test_writes_one_line_however_many_the_server_answers_with(configs: Path, platform: Platform) -> None:
    platform.answers_to(REGISTER, 400, {"error": "one\ntwo\r\x1b[31mthree\u2028four\ud800"})

    async with open_adapter(configs, PLATFORM_URL=platform.url) as adapter:
        assert "the server says 400 one | two??[31mthree?four?; next" in await adapter.logged("not registered")
        assert adapter.errors == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content_and_mode(file: Path) -> tuple[str, int]:
    return file.read_text(), stat.S_IMODE(file.stat().st_mode)
