"""The wire format: what clients written for the platform send, and what they read."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from support.rows import workspace
from support.server import InProcess
from workspace_server.api.wire import LARGEST_BODY, JsonAnswer, timestamp

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID_WORKSPACE = "invalid workspace payload"
INVALID_BODY = "invalid request body"


async def test_json_is_compact(app: InProcess) -> None:
    response = await app.call("GET", "/health")
    assert response.content == b'{"status":"ok"}'
    assert response.headers["content-type"] == "application/json; charset=utf-8"


async def test_text_is_utf_8_and_not_escaped(app: InProcess) -> None:
    identity = await workspace(app, spec={"name": "Wörkspace ✓"})
    response = await app.call("GET", f"/workspaces/{identity}")
    assert '"name":"Wörkspace ✓"'.encode() in response.content


async def test_whole_floats_have_no_fraction(app: InProcess) -> None:
    identity = await workspace(app, spec={"x": 100.0, "y": -0.5}, last_error_rate=1.0)
    text = (await app.call("GET", f"/workspaces/{identity}")).text
    assert '"x":100,"y":-0.5,' in text
    assert '"last_error_rate":1,' in text


async def test_floats_inside_an_agents_card_are_whole_as_well(app: InProcess) -> None:
    identity = await workspace(app, agent_card={"deep": [{"x": 2.0}]})
    assert '"agent_card":{"deep":[{"x":2}]}' in (await app.call("GET", f"/workspaces/{identity}")).text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 4, 5, 6, 7, 120000, tzinfo=UTC), "2026-03-04T05:06:07.12Z"),
        (datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC), "2026-03-04T05:06:07.123456Z"),
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "2026-03-04T05:06:07Z"),
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=2))), "2026-03-04T03:06:07Z"),
        (None, None),
    ],
)
async def test_times_are_rfc_3339_in_utc(moment: datetime | None, text: str | None) -> None:
    assert timestamp(moment) == text
    assert JsonAnswer({"at": moment}).body == json.dumps({"at": text}, separators=(",", ":")).encode()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", None])
async def test_the_content_type_of_a_request_is_ignored(app: InProcess, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = await app.call("POST", "/workspaces", content='{"name":"a"}', headers=headers)
    assert response.status_code == 201


async def test_keys_match_in_any_case(app: InProcess) -> None:
    body = {"NAME": "a", "RunTime": "crewai", "Canvas": {"X": 3, "y": 4}}
    created = (await app.call("POST", "/workspaces", json=body)).json()
    form = (await app.call("GET", f"/workspaces/{created['id']}")).json()
    assert (form["name"], form["runtime"], form["x"], form["y"]) == ("a", "crewai", 3, 4)


async def test_unknown_keys_are_ignored(app: InProcess) -> None:
    assert (await app.call("POST", "/workspaces", json={"name": "a", "colour": {"deep": 1}})).status_code == 201


async def test_null_means_absent(app: InProcess) -> None:
    body = {"name": "a", "runtime": None, "role": None, "tier": None, "canvas": {"x": None, "y": 1}, "template": None}
    created = await app.call("POST", "/workspaces", json=body)
    assert created.status_code == 201, created.text
    form = (await app.call("GET", f"/workspaces/{created.json()['id']}")).json()
    assert (form["runtime"], form["role"], form["tier"], form["x"]) == ("langgraph", None, 2, 0)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="broken"),
        pytest.param("nonsense", id="no-json"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param("[]", id="list"),
        pytest.param('"text"', id="string"),
        pytest.param("null", id="null"),
        pytest.param("[" * 200_000, id="deep"),
        pytest.param('{"name":' + "[" * 50_000 + "]" * 50_000 + "}", id="deep-inside"),
        pytest.param('{"name":' + "1" * 5_000 + "}", id="endless-number"),
        pytest.param('{"name":"a","name":null}', id="null-wins"),
        pytest.param('{"name":5}', id="number-for-text"),
        pytest.param('{"name":["a"]}', id="list-for-text"),
        pytest.param('{"name":""}', id="empty-name"),
        pytest.param('{"name":"a","tier":"2"}', id="text-for-number"),
        pytest.param('{"name":"a","tier":2.0}', id="fraction-for-whole"),
        pytest.param('{"name":"a","tier":true}', id="bool-for-whole"),
        pytest.param('{"name":"a","budget_limit":1000000000000000000000000}', id="whole-beyond-64-bits"),
        pytest.param('{"name":"a","max_concurrent_tasks":-1000000000000000000000000}', id="below-64-bits"),
        pytest.param('{"name":"a","canvas":[]}', id="list-for-object"),
        pytest.param('{"name":"a","canvas":{"x":"1"}}', id="text-for-float"),
        pytest.param('{"name":"a","canvas":{"x":true}}', id="bool-for-float"),
        pytest.param('{"name":"a","canvas":{"x":NaN}}', id="nan"),
        pytest.param('{"name":"a","canvas":{"x":Infinity}}', id="infinity"),
        pytest.param('{"name":"a","canvas":{"x":1e999}}', id="float-beyond-64-bits"),
        pytest.param('{"name":"\\ud800"}', id="half-a-character"),
        pytest.param('{"name":"a","parent_id":"\\ud800"}', id="half-a-character-in-an-id"),
    ],
)
async def test_a_wrong_body_is_400(app: InProcess, body: str | bytes) -> None:
    response = await app.call("POST", "/workspaces", content=body)
    assert response.status_code == 400, response.text
    answer = response.json()
    assert (answer["error"], answer["code"]) == (INVALID_WORKSPACE, "invalid_request")
    assert answer["hint"]


@pytest.mark.parametrize(
    "field",
    [
        '"error_rate":NaN',
        '"error_rate":1e999',
        '"error_rate":"0.5"',
        '"active_tasks":1.5',
        '"active_tasks":"1"',
        '"uptime_seconds":99999999999999999999',
        '"monthly_spend":false',
        '"sample_error":"\\ud800"',
        '"current_task":1',
    ],
)
async def test_a_wrong_field_of_a_heartbeat_is_400(app: InProcess, field: str) -> None:
    identity = await workspace(app)
    body = f'{{"workspace_id":"{identity}",{field}}}'
    response = await app.call("POST", "/registry/heartbeat", content=body)
    assert (response.status_code, response.json()["error"]) == (400, INVALID_BODY), response.text


@pytest.mark.parametrize("card", ["NaN", "[-Infinity]", '{"a":"\\udfff"}', '{"\\ud800":1}'])
async def test_an_agent_card_that_is_not_json_is_400(app: InProcess, card: str) -> None:
    identity = await workspace(app)
    body = f'{{"id":"{identity}","url":"http://a:8000","agent_card":{card}}}'
    response = await app.call("POST", "/registry/register", content=body)
    assert (response.status_code, response.json()["error"]) == (400, INVALID_BODY), response.text


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=many", "limit=1.5", "limit="])
async def test_a_wrong_query_is_400(app: InProcess, query: str) -> None:
    response = await app.call("GET", f"/images/builds?{query}")
    assert response.status_code == 400
    answer = response.json()
    assert (answer["error"], answer["code"]) == ("invalid request", "invalid_request")
    assert answer["hint"].startswith("query.limit: ")


@pytest.mark.parametrize("path", ["/workspaces", "/registry/register", "/registry/heartbeat"])
async def test_a_body_beyond_the_cap_is_refused(app: InProcess, path: str) -> None:
    response = await app.call("POST", path, content=b" " * (LARGEST_BODY + 1))
    assert response.status_code == 400
    assert response.json() == {"error": "the request body is larger than 1 MiB", "code": "body_too_large"}


async def test_a_body_at_the_cap_is_read(app: InProcess) -> None:
    body = b'{"name":"a"}'
    response = await app.call("POST", "/workspaces", content=body + b" " * (LARGEST_BODY - len(body)))
    assert response.status_code == 201


async def test_an_error_is_an_object_with_code_and_hint(app: InProcess) -> None:
    response = await app.call("GET", "/images/builds/nope")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json() == {
        "error": "no build nope",
        "code": "unknown_build",
        "hint": "GET /images/builds lists them",
    }
