"""How the commands of images explain themselves, and what they refuse without asking a server."""

import re

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    "arguments", [["build"], ["log"], ["explain", "a", "b"], ["builds", "--limit", "0"], ["list", "--nope"], ["nope"]]
)
def test_a_wrong_use_is_exit_code_2(command: Command, arguments: list[str]) -> None:
    ended = command("images", *arguments)
    assert (ended.code, ended.out, "Usage: workspace-server images" in ended.err) == (2, "", True)


@pytest.mark.parametrize("name", ["list", "builds", "build", "explain", "log", "cancel", "prune"])
def test_every_command_has_json_and_says_what_it_does_in_a_short_sentence(command: Command, name: str) -> None:
    (summary,) = re.findall(rf"^  {name} +(.*)$", command("images", "--help").out, re.MULTILINE)
    assert (summary.endswith("."), "..." in summary, "--json" in command("images", name, "--help").out) == (
        True,
        False,
        True,
    )
