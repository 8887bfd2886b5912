"""How the commands of workspaces explain themselves, and what they refuse without asking a server."""

import re

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["create", "a", "--tier", "5"], ["logs", "a", "--tail", "-1"], ["message", "a"], ["show"], ["nope"]],
)
def test_a_wrong_use_is_exit_code_2(command: Command, arguments: list[str]) -> None:
    ended = command("workspaces", *arguments)
    assert (ended.code, ended.out, "Usage: workspace-server workspaces" in ended.err) == (2, "", True)


@pytest.mark.parametrize("name", ["create", "list", "show", "logs", "message", "restart", "pause", "resume", "delete"])
def test_every_command_has_json_and_says_what_it_does_in_a_short_sentence(command: Command, name: str) -> None:
    (summary,) = re.findall(rf"^  {name} +(.*)$", command("workspaces", "--help").out, re.MULTILINE)
    assert (summary.endswith("."), "..." in summary, "--json" in command("workspaces", name, "--help").out) == (
        True,
        False,
        True,
    )
