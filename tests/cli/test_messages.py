"""What of an agent's answer is for people."""

from typing import Any

import pytest

from workspace_server.cli.messages import text_of
from workspace_server.errors import WorkspaceServerError

PARTS = [{"kind": "text", "text": "Hel"}, {"kind": "data", "data": {}}, {"type": "text", "text": "lo"}]


@pytest.mark.parametrize(
    "result",
    [
        {"kind": "message", "parts": PARTS},
        {"kind": "task", "artifacts": [{"parts": PARTS[:1]}, {"parts": PARTS[1:]}]},
        {"kind": "task", "status": {"state": "completed", "message": {"parts": PARTS}}},
        {"kind": "task", "artifacts": [{"parts": PARTS}], "status": {"message": {"parts": PARTS}}},
    ],
    ids=["message", "artifacts", "status", "artifacts and status"],
)
def test_the_text_is_found_wherever_an_answer_has_it(result: Any) -> None:
    assert text_of({"jsonrpc": "2.0", "id": "1", "result": result}) == "Hello"


@pytest.mark.parametrize("reply", [None, [], {}, {"result": None}, {"result": {"parts": None}}, {"result": "x"}])
def test_an_answer_without_text_has_none(reply: Any) -> None:
    assert text_of(reply) == ""


def test_an_agents_error_is_one() -> None:
    with pytest.raises(WorkspaceServerError, match="the agent answered with an error: no key") as caught:
        text_of({"jsonrpc": "2.0", "id": "1", "error": {"code": -32000, "message": "no key"}})

    assert caught.value.code == "agent_error"
