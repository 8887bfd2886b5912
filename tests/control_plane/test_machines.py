"""The calls about machines: what is sent, and what is believed of the answers."""

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.control_plane import (
    ADMIN_KEY,
    BIG,
    LOST,
    ORG,
    SECRET,
    TENANT_TOKEN,
    Answer,
    control_plane,
    told,
    variables,
)
from support.control_plane import ControlPlane as Served
from support.registry import make_certificate
from workspace_server.control_plane.access import Access
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.faults import RefusedError
from workspace_server.control_plane.machines import Absences, ControlPlane, Order, State
from workspace_server.errors import NotFoundError, UnavailableError
from workspace_server.settings import load_settings

W = "0123abcd-4567-89ab-cdef-0123456789ab"
ORDER = Order(
    workspace_id=W,
    runtime="langgraph",
    tier=3,
    platform_url="https://acme.example.org",
    env={"WORKSPACE_GENERATION": "1", "API_KEY": "hush-hush"},
    secrets=frozenset({"hush-hush"}),
)

DOUBTS: dict[str, Answer | Callable[[Answer], Answer]] = {
    "500": told(500, instance_id="i-1", state="running", output="x"),
    "503": told(503, error="busy"),
    "302": Answer(302, b"", headers={"Location": "http://127.0.0.1:1/"}),
    "cut before the head": LOST,
    "cut in the body": lambda right: Answer(right.status, right.body, cut=3),
    "bad JSON": lambda right: Answer(right.status, right.body[:-1]),
    "no object": lambda right: Answer(right.status, b"[]"),
    "wrong content type": lambda right: Answer(right.status, right.body, "text/html"),
    "no content type": lambda right: Answer(right.status, right.body, ""),
    "10 MiB": lambda right: Answer(right.status, right.body[:-1] + b" " * BIG + b"}"),
    "compressed": lambda right: Answer(right.status, gzip.compress(right.body), headers={"Content-Encoding": "gzip"}),
    "bottomless": lambda right: Answer(right.status, b"[" * 60_000),
}
SILENCES = [*DOUBTS, "silent"]
OF_THE_BODY = {"bad JSON", "no object", "wrong content type", "no content type", "compressed", "bottomless"}


def spoil(served: Served, kind: str, name: str) -> Any:
    if name == "silent":
        return served.fault(kind, late=3600)
    return served.fault(kind, DOUBTS[name])


# What is sent


async def test_a_start_sends_exactly_what_the_protocol_has(served: Served, client: ControlPlane) -> None:
    assert await client.start(ORDER, again=False) == "i-00000000"

    (call,) = served.calls
    assert (call.method, call.path, call.query) == ("POST", "/cp/workspaces/provision", {})
    assert call.json == {
        "org_id": ORG,
        "workspace_id": W,
        "runtime": "langgraph",
        "tier": 3,
        "platform_url": "https://acme.example.org",
        "env": {"WORKSPACE_GENERATION": "1", "API_KEY": "hush-hush"},
    }
    assert (call.headers["authorization"], call.headers["x-molecule-admin-token"]) == (f"Bearer {SECRET}", TENANT_TOKEN)
    assert call.headers["content-type"] == "application/json"


async def test_a_machine_is_ended_and_asked_about_by_its_own_id(served: Served, client: ControlPlane) -> None:
    machine = await client.start(ORDER, again=False)
    assert await client.state(W, machine) is State.RUNNING
    await client.stop(W, machine)

    assert [(call.method, call.path, call.query) for call in served.calls[1:]] == [
        ("GET", f"/cp/workspaces/{W}/status", {"instance_id": [machine]}),
        ("DELETE", f"/cp/workspaces/{W}", {"instance_id": [machine]}),
    ]
    assert {call.headers["authorization"] for call in served.calls} == {f"Bearer {SECRET}"}


async def test_the_console_is_asked_for_with_the_administrators_key(served: Served, client: ControlPlane) -> None:
    await client.start(ORDER, again=False)
    assert await client.console(W) == served.console

    call = served.calls[-1]
    assert (call.method, call.path) == ("GET", f"/cp/admin/workspaces/{W}/console")
    assert (call.headers["authorization"], call.headers["x-molecule-admin-token"]) == (
        f"Bearer {ADMIN_KEY}",
        TENANT_TOKEN,
    )


@pytest.mark.parametrize(
    ("given", "url", "bearer", "admin"),
    [
        ({}, "https://api.moleculesai.app", None, None),
        ({"MOLECULE_CP_URL": "https://a/"}, "https://a", None, None),
        ({"MOLECULE_CP_URL": "https://a", "CP_PROVISION_URL": "https://b"}, "https://b", None, None),
        ({"PROVISION_SHARED_SECRET": "old"}, "https://api.moleculesai.app", "old", "old"),
        (
            {"PROVISION_SHARED_SECRET": "old", "MOLECULE_CP_SHARED_SECRET": "new"},
            "https://api.moleculesai.app",
            "new",
            "new",
        ),
        (
            {"MOLECULE_CP_SHARED_SECRET": "new", "CP_ADMIN_API_TOKEN": "key"},
            "https://api.moleculesai.app",
            "new",
            "key",
        ),
    ],
)
def test_credentials_are_taken_in_their_order(
    given: dict[str, str], url: str, bearer: str | None, admin: str | None
) -> None:
    hosted = {"MOLECULE_ORG_ID": "o", "ADMIN_TOKEN": "t", "PLATFORM_URL": "https://acme.example.org"}
    access = Access.from_settings(load_settings({"HOME": "/nonexistent", **hosted, **given}))

    assert (access.url, access.shared_secret, access.admin_key) == (url, bearer, admin)


async def test_a_credential_that_is_not_set_is_no_header(served: Served) -> None:
    access = Access(url=served.url, org_id=ORG, shared_secret=None, tenant_token=None, admin_key=None)
    async with open_control_plane_client(ssl.create_default_context) as http:
        with pytest.raises(RefusedError):
            await ControlPlane(http, access).start(ORDER, again=False)

    assert {"authorization", "x-molecule-admin-token", "cookie"}.isdisjoint(served.calls[0].headers)


def test_no_credential_and_no_secret_is_shown() -> None:
    access = Access(url="https://a", org_id=ORG, shared_secret="hush", tenant_token="hush", admin_key="hush")

    assert "hush" not in repr(access) + repr(ORDER)


# What is believed


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("running", State.RUNNING),
        ("pending", State.STARTING),
        ("stopping", State.ENDING),
        ("shutting-down", State.ENDING),
        ("stopped", State.ENDED),
        ("terminated", State.ENDED),
        ("", State.UNCLEAR),
        ("Running", State.UNCLEAR),
        ("dead", State.UNCLEAR),
        (None, State.UNCLEAR),
        (["terminated"], State.UNCLEAR),
    ],
)
async def test_a_state_is_one_of_the_protocols_words_or_no_word_at_all(
    served: Served, client: ControlPlane, word: Any, state: State
) -> None:
    served.fault("status", told(200, state=word))

    assert await client.state(W, "i-1") is state


async def test_a_state_that_is_not_told_is_no_end(served: Served, client: ControlPlane) -> None:
    served.fault("status", told(200))

    assert await client.state(W, "i-1") is State.UNCLEAR


@pytest.mark.parametrize("status", [404, 410])
async def test_a_machine_is_gone_when_the_control_plane_itself_says_so(
    served: Served, client: ControlPlane, status: int
) -> None:
    served.fault("status", told(status, error="no such instance"))

    assert await client.state(W, "i-1") is State.GONE


def test_that_there_is_no_machine_is_believed_when_nothing_else_is_said_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absences, said = Absences(60), []
    for seconds, state in (
        *((100, State.GONE), (159, State.GONE), (160, State.GONE), (161, State.UNCLEAR)),
        *((162, State.GONE), (221, State.GONE), (222, State.GONE)),
    ):
        monkeypatch.setattr(time, "monotonic", partial(float, seconds))
        said.append(absences.are_believed("i-1", state))
        assert not absences.are_believed("i-2", State.RUNNING)

    assert said == [False, False, True, False, False, False, True]


@pytest.mark.parametrize("body", [b"404 page not found", b"<html>", b""])
async def test_a_404_of_anybody_else_is_doubt(served: Served, client: ControlPlane, body: bytes) -> None:
    served.fault("any", Answer(404, body, "text/html"), times=3)

    with pytest.raises(UnavailableError):
        await client.state(W, "i-1")
    with pytest.raises(UnavailableError):
        await client.stop(W, "i-1")
    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.code == "instance_unknown"


@pytest.mark.parametrize("status", [400, 401, 403, 429])
async def test_a_refused_question_is_doubt(served: Served, client: ControlPlane, status: int) -> None:
    served.fault("status", told(status, state="terminated", error="no"))

    with pytest.raises(UnavailableError):
        await client.state(W, "i-1")


@pytest.mark.parametrize("name", SILENCES)
async def test_a_doubtful_answer_about_a_machine_is_no_word_about_it(
    served: Served, client: ControlPlane, name: str
) -> None:
    machine = await client.start(ORDER, again=False)
    fault = spoil(served, "status", name)

    with pytest.raises(UnavailableError) as caught:
        await client.state(W, machine)
    assert (caught.value.code, fault.fired) == ("control_plane_unavailable", 1)
    assert client.trouble is caught.value
    assert await client.state(W, machine) is State.RUNNING
    assert client.trouble is None


@pytest.mark.parametrize("name", SILENCES)
async def test_a_start_with_a_doubtful_answer_may_have_made_a_machine(
    served: Served, client: ControlPlane, name: str
) -> None:
    spoil(served, "start", name)

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.code == "instance_unknown"
    assert await client.start(ORDER, again=True) == "i-00000000"
    assert len(served.running) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instance_id": ""},
        {"instance_id": None},
        {"instance_id": 7},
        {"instance_id": W},
        {"instance_id": "i 1"},
        {"instance_id": "i\n1"},
        {"instance_id": "i" * 256},
    ],
)
async def test_a_start_whose_answer_names_no_machine_made_one_nevertheless(
    served: Served, client: ControlPlane, fields: dict[str, Any]
) -> None:
    served.fault("start", told(201, **fields))

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.code == "instance_unknown"


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_only_201_is_a_start(served: Served, client: ControlPlane, status: int) -> None:
    served.fault("start", lambda right: Answer(status, b"" if status == 204 else right.body))

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.code == "instance_unknown"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
async def test_a_refused_start_is_an_error_with_its_words(served: Served, client: ControlPlane, status: int) -> None:
    served.fault("start", told(status, error="this plan has no machines left"), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.message == (
        f"the control plane refused to start the workspace's machine (HTTP {status}): this plan has no machines left"
    )
    assert (caught.value.code, client.trouble) == ("control_plane_refused", None)


@pytest.mark.parametrize("status", [425, 429])
async def test_a_start_that_is_refused_for_the_moment_made_no_machine_and_can_be_tried_again(
    served: Served, client: ControlPlane, status: int
) -> None:
    served.fault("start", told(status, error="slow down"), acts=0)

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.code == "control_plane_unavailable"


@pytest.mark.parametrize("status", [401, 402, 403, 409, 429])
async def test_a_repeated_start_that_is_refused_for_the_callers_sake_says_nothing_of_the_first(
    served: Served, client: ControlPlane, status: int
) -> None:
    served.fault("start", told(status, error="no"), acts=0)

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=True)
    assert caught.value.code == "instance_unknown"


@pytest.mark.parametrize("status", [400, 404, 410, 422])
async def test_a_repeated_start_that_is_refused_for_the_orders_sake_made_no_machine(
    served: Served, client: ControlPlane, status: int
) -> None:
    served.fault("start", told(status, error="no"), acts=0)

    with pytest.raises(RefusedError):
        await client.start(ORDER, again=True)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_repeated_start_that_a_proxy_refuses_says_nothing_of_the_first(
    served: Served, client: ControlPlane, status: int
) -> None:
    served.fault("start", Answer(status, b"<html>Bad Request", "text/html"), acts=0)

    with pytest.raises(UnavailableError) as caught:
        await client.start(ORDER, again=True)
    assert caught.value.code == "instance_unknown"


async def test_a_repeated_start_may_be_answered_that_its_machine_is_there(served: Served, client: ControlPlane) -> None:
    first = await client.start(ORDER, again=False)
    served.fault("start", lambda right: Answer(200, right.body))

    assert await client.start(ORDER, again=True) == first


async def test_a_start_that_never_left_made_no_machine_unless_it_is_a_repeated_one() -> None:
    access = Access(url="http://127.0.0.1:1", org_id=ORG, shared_secret="s", tenant_token="t", admin_key="s")
    async with open_control_plane_client(ssl.create_default_context) as http:
        codes = []
        for again in (False, True):
            with pytest.raises(UnavailableError) as caught:
                await ControlPlane(http, access).start(ORDER, again=again)
            codes.append(caught.value.code)

    assert codes == ["control_plane_unavailable", "instance_unknown"]


@pytest.mark.parametrize("name", sorted(set(SILENCES) - OF_THE_BODY))
async def test_a_stop_with_a_doubtful_answer_is_not_done(served: Served, client: ControlPlane, name: str) -> None:
    machine = await client.start(ORDER, again=False)
    spoil(served, "stop", name)

    with pytest.raises(UnavailableError) as caught:
        await client.stop(W, machine)
    assert caught.value.code == "control_plane_unavailable"


@pytest.mark.parametrize("name", sorted(OF_THE_BODY))
async def test_of_the_answer_to_a_stop_only_the_status_counts(served: Served, client: ControlPlane, name: str) -> None:
    machine = await client.start(ORDER, again=False)
    spoil(served, "stop", name)

    await client.stop(W, machine)
    assert served.running == []


async def test_a_refused_stop_is_an_error_with_its_words(served: Served, client: ControlPlane) -> None:
    served.fault("stop", told(409, error="protected"), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.stop(W, "i-1")
    assert caught.value.message == "the control plane refused to end the workspace's machine (HTTP 409): protected"


async def test_to_stop_what_is_not_there_is_done_and_told_apart(client: ControlPlane) -> None:
    machine = await client.start(ORDER, again=False)

    assert (await client.stop(W, machine), await client.stop(W, "i-9")) == (True, False)


@pytest.mark.parametrize("name", SILENCES)
async def test_a_console_that_cannot_be_read_is_the_control_planes_fault(
    served: Served, client: ControlPlane, name: str
) -> None:
    await client.start(ORDER, again=False)
    spoil(served, "console", name)

    with pytest.raises(UnavailableError):
        await client.console(W)


async def test_a_console_that_cannot_be_read_is_no_trouble_with_machines(served: Served, client: ControlPlane) -> None:
    served.fault("console", told(500))
    with pytest.raises(UnavailableError):
        await client.console(W)

    assert client.trouble is None


async def test_trouble_that_nobody_saw_again_is_none_any_more(
    served: Served, client: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.fault("status", told(500))
    with pytest.raises(UnavailableError):
        await client.state(W, "i-1")
    seen = client.trouble
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)

    assert (seen is None, client.trouble) == (False, None)


async def test_a_console_of_256_kib_is_read_and_no_more(served: Served, client: ControlPlane) -> None:
    await client.start(ORDER, again=False)
    served.console = "x" * (256 * 1024 - len(json.dumps({"output": ""})))
    assert await client.console(W) == served.console
    served.console += "x"

    with pytest.raises(UnavailableError):
        await client.console(W)


async def test_there_is_no_console_without_a_machine(client: ControlPlane) -> None:
    with pytest.raises(NotFoundError) as caught:
        await client.console(W)
    assert caught.value.code == "no_machine"


async def test_of_a_large_answer_no_more_is_read_than_it_may_have(served: Served, client: ControlPlane) -> None:
    """The rest would take an hour to come."""
    served.fault("status", Answer(200, b"{" + b" " * 70_000, headers={"Content-Length": str(BIG)}))

    with pytest.raises(UnavailableError, match="larger than 64 KiB"):
        await client.state(W, "i-1")


async def test_an_answer_that_drips_ends_with_the_deadline(served: Served, client: ControlPlane) -> None:
    served.fault("status", late=3600)
    begun = time.monotonic()

    with pytest.raises(UnavailableError, match="in time"):
        await client.state(W, "i-1")
    assert time.monotonic() - begun < 4


async def test_a_call_that_nobody_waits_for_any_more_is_ended(served: Served, client: ControlPlane) -> None:
    fault = served.fault("start", late=3600)
    starting = asyncio.ensure_future(client.start(ORDER, again=False))
    await fault.arrived.wait()
    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting


# Words


@pytest.mark.parametrize(
    "body",
    [
        b"panic: hush-hush",
        b'{"message": "hush-hush"}',
        b'{"error": {"env": "hush-hush"}}',
        b'{"error": ""}',
        b"",
    ],
)
async def test_of_a_refusal_without_an_error_only_the_length_is_told(
    served: Served, client: ControlPlane, body: bytes
) -> None:
    served.fault("start", Answer(422, body), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.message.endswith(f": <unstructured body, {len(body)} bytes>")


@pytest.mark.parametrize(
    "hidden", ["hush-hush", SECRET, TENANT_TOKEN, ADMIN_KEY, "hush\\u001b[0m-hush", "hush\\u0000-hush"]
)
async def test_a_refusal_that_repeats_what_is_secret_is_told_without_it(
    served: Served, client: ControlPlane, hidden: str
) -> None:
    served.fault("start", Answer(422, f'{{"error": "not with {hidden}, ever"}}'.encode()), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.start(ORDER, again=False)
    assert caught.value.message.endswith(": not with ***, ever")


async def test_a_secret_is_hidden_in_every_way_of_writing_it(served: Served, client: ControlPlane) -> None:
    value = 'a "quoted"\nline/of text'
    order = Order(workspace_id=W, runtime="r", tier=1, platform_url="https://a", env={}, secrets=frozenset({value}))
    quoted, as_json = "a%20%22quoted%22%0Aline%2Fof%20text", json.dumps(value)
    served.fault("start", told(422, error=f"[{value}] [{as_json}] [{quoted}] [{' '.join(value.split())}]"), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.start(order, again=False)
    assert "line" not in caught.value.message


async def test_the_words_of_a_refusal_are_one_short_line_that_no_terminal_obeys(
    served: Served, client: ControlPlane
) -> None:
    served.fault("start", told(422, error="a\x1b]0;title\x07\nb" + "c" * 5000), acts=0)

    with pytest.raises(RefusedError) as caught:
        await client.start(ORDER, again=False)
    words = caught.value.message.partition(": ")[2]
    assert (words[:3], len(words), "\x1b" in words) == ("a b", 500, False)


# TLS


async def test_a_trusted_control_plane_is_spoken_to_by_tls(tmp_path: Path) -> None:
    certificate = await make_certificate(tmp_path)
    async with control_plane(tls=certificate) as served:
        access = Access.from_settings(load_settings({"HOME": "/nonexistent", **variables(served)}))
        trust = lambda: ssl.create_default_context(cafile=str(certificate.certificate))  # noqa: E731
        async with open_control_plane_client(trust) as http:
            assert await ControlPlane(http, access).start(ORDER, again=False) == "i-00000000"


async def test_a_control_plane_that_is_not_trusted_learns_nothing(tmp_path: Path) -> None:
    async with control_plane(tls=await make_certificate(tmp_path)) as served:
        access = Access.from_settings(load_settings({"HOME": "/nonexistent", **variables(served)}))
        async with open_control_plane_client(ssl.create_default_context) as http:
            with pytest.raises(UnavailableError) as caught:
                await ControlPlane(http, access).start(ORDER, again=False)

        assert (caught.value.code, served.calls) == ("control_plane_unavailable", [])
