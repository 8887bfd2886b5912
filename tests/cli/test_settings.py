"""``workspace-server settings``: every setting, and never a secret."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from workspace_server.cli.settings import shown
from workspace_server.model.repository import RepositoryUrl
from workspace_server.settings import Settings

from .conftest import Command

VARIABLES = [str(field.alias) for field in Settings.model_fields.values() if field.alias]


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_printed_with_what_it_is_for(command: Command, variable: str) -> None:
    lines = command("settings").out.splitlines()

    (position,) = (n for n, line in enumerate(lines) if line.split()[:1] == [variable])
    assert lines[position + 1].strip().startswith("# ")


@pytest.mark.parametrize("variable", ["ADMIN_TOKEN", "MOLECULE_GITEA_TOKEN"])
def test_a_secret_is_masked(command: Command, variable: str) -> None:
    ended = command("settings", **{variable: "hunter2-hunter2"})

    (line,) = (line for line in ended.out.splitlines() if line.split()[:1] == [variable])
    assert (ended.code, line.split()[1], "hunter2" in ended.out + ended.err) == (0, "***", False)


def test_a_value_that_is_set_is_shown(command: Command) -> None:
    out = command("settings", PORT="9000", MOLECULE_EXTRA_RUNTIMES="echo, mine", MOLECULE_TEMPLATE_REF_HERMES="v1").out

    values = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["PORT", "9000"] in values
    assert ["MOLECULE_EXTRA_RUNTIMES", "echo,mine"] in values
    assert ["MOLECULE_TEMPLATE_REF_*", "hermes=v1"] in values


def test_the_environment_that_children_get_is_not_printed(command: Command) -> None:
    assert "proxy.example.org" not in command("settings", HTTPS_PROXY="http://u:p@proxy.example.org").out


def test_a_secret_in_a_wrong_setting_is_masked_too(command: Command) -> None:
    ended = command("settings", MOLECULE_TEMPLATE_REPO_HERMES="https://me:hunter2@git.example.org/x")

    assert (ended.code, "hunter2" in ended.out + ended.err) == (2, False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "(unset)"),
        ((), "(unset)"),
        ({}, "(unset)"),
        ("", "(empty)"),
        (SecretStr("s"), "***"),
        (SecretStr(""), "***"),
        (8080, "8080"),
        (("a", "b"), "a,b"),
        ({"a": "1", "b": "2"}, "a=1, b=2"),
        (Path("/x"), "/x"),
        (RepositoryUrl.parse("https://git.example.org/x"), "https://git.example.org/x"),
    ],
)
def test_a_value_is_shown_as_it_would_be_set(value: object, text: str) -> None:
    assert shown(value) == text
