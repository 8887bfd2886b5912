"""What a workspace's container is told: its environment, and its files under ``/configs``."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.errors import ConflictError, TemplateError
from workspace_server.model.secret import RESERVED
from workspace_server.model.workspace import ImageOnRow, Workspace
from workspace_server.workspaces.environment import (
    check_required,
    effective_config,
    environment,
    repository_of,
    token_file,
    yaml_of,
)

from .making import ID, workspace

URL = "http://host.docker.internal:8080"
GENERATED = {"name": "Ada", "description": "", "version": "1.0.0", "tier": 2, "runtime": "langgraph"}
TEMPLATE = b"""\
# A template's own file
name: Template
description: what it is for
version: 2.0.0
tier: 1
runtime: template
model: its-model
runtime_config:
  required_env: [KEY]
  timeout: 5
"""
# Each line has the keys of the one before it nine times.
GROWING = b"m0: &m0 {k: 1}\n" + b"".join(
    b"m%d: &m%d {<<: [%s]}\n" % (n, n, b", ".join([b"*m%d" % (n - 1)] * 9)) for n in range(1, 12)
)
HOSTILE = [
    "a: b",
    "# no comment",
    "yes",
    "1",
    "null",
    "- item",
    "'single' \"double\"",
    "tab\tand\\backslash",
    "line\nbreak: injected",
    "---",
    "{{jinja}} ${shell} `ticks` %d",
    "naïve ☃ 名前",
    "\u2028\u0085",
    " blanks ",
    "@at",
    "~",
]


def config(of: Workspace, template: bytes | None = None) -> dict[str, object]:
    text = yaml_of(effective_config(of, template, repository_of(of)))
    parsed: dict[str, object] = yaml.safe_load(text)
    return parsed


# Environment


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_secret_replaces_what_the_server_itself_says(name: str) -> None:
    assert environment(workspace(), URL, {name: "forged"})[name] == environment(workspace(), URL, {})[name]


def test_a_secret_replaces_any_other_default() -> None:
    assert environment(workspace(), URL, {"PYTHONPATH": "/mine"})["PYTHONPATH"] == "/mine"


def test_model_and_role_are_the_workspaces_whatever_the_secrets_say() -> None:
    secrets = {"MOLECULE_AGENT_ROLE": "forged", "HERMES_DEFAULT_MODEL": "forged"}
    told = environment(workspace(role="critic", runtime="hermes", model="m1"), URL, secrets)

    assert (told["MOLECULE_AGENT_ROLE"], told["HERMES_DEFAULT_MODEL"]) == ("critic", "m1")


def test_every_missing_variable_is_named_at_once() -> None:
    config = {"runtime_config": {"required_env": ["A_KEY", "B_KEY", "C_KEY"]}}
    with pytest.raises(ConflictError) as caught:
        check_required(config, {"B_KEY": "there", "C_KEY": ""})

    assert caught.value.as_dict() == {
        "error": "the runtime needs variables that are not set: A_KEY, C_KEY",
        "code": "required_env_missing",
        "hint": "save each as a secret of the workspace, or of all: POST /workspaces/{id}/secrets, /settings/secrets",
    }


@pytest.mark.parametrize(
    "config", [{}, {"runtime_config": None}, {"runtime_config": {}}, {"runtime_config": {"required_env": "A"}}]
)
def test_what_asks_for_nothing_lacks_nothing(config: dict[str, object]) -> None:
    assert check_required(config, {}) is None


def test_the_environment_of_a_plain_workspace() -> None:
    assert environment(workspace(), URL, {}) == {
        "GIT_AUTHOR_NAME": "Molecule AI Ada",
        "GIT_AUTHOR_EMAIL": "ada@agents.moleculesai.app",
        "GIT_COMMITTER_NAME": "Molecule AI Ada",
        "GIT_COMMITTER_EMAIL": "ada@agents.moleculesai.app",
        "PLUGINS_DIR": "/plugins",
        "PYTHONPATH": "/app",
        "WORKSPACE_ID": ID,
        "WORKSPACE_CONFIG_PATH": "/configs",
        "PLATFORM_URL": URL,
        "MOLECULE_URL": URL,
        "TIER": "2",
    }


def test_a_role_is_passed_on() -> None:
    assert environment(workspace(role="critic"), URL, {})["MOLECULE_AGENT_ROLE"] == "critic"


@pytest.mark.parametrize("runtime", ["hermes", "langgraph", "claude-code"])
def test_a_model_is_passed_on_to_hermes_alone(runtime: str) -> None:
    told = environment(workspace(runtime=runtime, model="m1"), URL, {})

    assert told.get("HERMES_DEFAULT_MODEL") == ("m1" if runtime == "hermes" else None)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Ada Lovelace", "ada-lovelace"), ("  A__b  ", "a-b"), ("Ünï", "n"), ("☃", ID), ("-x-", "x"), ("9", "9")],
)
def test_an_agents_address_is_made_of_its_name(name: str, slug: str) -> None:
    told = environment(workspace(name=name), URL, {})

    assert (told["GIT_AUTHOR_EMAIL"], told["GIT_AUTHOR_NAME"]) == (
        f"{slug}@agents.moleculesai.app",
        f"Molecule AI {name}",
    )


@given(st.text(min_size=1), st.text(), st.text(), st.sampled_from(["hermes", "langgraph"]))
def test_nothing_a_person_chooses_changes_the_fixed_names(name: str, role: str, model: str, runtime: str) -> None:
    chosen = environment(workspace(name=name, role=role or None, model=model or None, runtime=runtime), URL, {})
    plain = environment(workspace(), URL, {})
    fixed = ("WORKSPACE_ID", "WORKSPACE_CONFIG_PATH", "PLATFORM_URL", "MOLECULE_URL", "TIER", "PYTHONPATH")

    assert {key: chosen[key] for key in fixed} == {key: plain[key] for key in fixed}


# config.yaml


@pytest.mark.parametrize(
    ("runtime", "more"),
    [
        ("langgraph", {"model": "anthropic:claude-opus-4-7"}),
        ("deepagents", {"model": "anthropic:claude-opus-4-7"}),
        ("claude-code", {"model": "sonnet", "runtime_config": {"timeout": 0}}),
        ("hermes", {"model": "anthropic:claude-opus-4-7", "runtime_config": {"timeout": 0}}),
    ],
)
def test_a_config_is_generated_where_the_template_has_none(runtime: str, more: dict[str, object]) -> None:
    assert config(workspace(runtime=runtime)) == GENERATED | {"runtime": runtime} | more


def test_a_generated_config_has_the_workspaces_role_and_model() -> None:
    generated = config(workspace(role="critic", model="m1"))

    assert (generated["description"], generated["model"]) == ("critic", "m1")


def test_a_templates_config_keeps_everything_but_the_workspaces_own() -> None:
    assert config(workspace(), TEMPLATE) == {
        "name": "Ada",
        "description": "what it is for",
        "version": "2.0.0",
        "tier": 2,
        "runtime": "langgraph",
        "model": "its-model",
        "runtime_config": {"required_env": ["KEY"], "timeout": 5},
    }


def test_a_workspaces_role_and_model_replace_the_templates() -> None:
    merged = config(workspace(role="critic", model="m1"), TEMPLATE)

    assert (merged["description"], merged["model"]) == ("critic", "m1")


def test_a_config_keeps_the_templates_order() -> None:
    assert list(config(workspace(), TEMPLATE)) == [
        "name",
        "description",
        "version",
        "tier",
        "runtime",
        "model",
        "runtime_config",
    ]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["generated", "template"])
def test_a_name_a_role_and_a_model_are_texts_whatever_they_look_like(text: str, template: bytes | None) -> None:
    written = config(workspace(name=text, role=text, model=text), template)

    assert (written["name"], written["description"], written["model"], written["tier"]) == (text, text, text, 2)


@given(st.text(min_size=1))
def test_any_name_comes_back_as_it_was(name: str) -> None:
    assert config(workspace(name=name))["name"] == name


@pytest.mark.parametrize(
    "content",
    [
        b"- a\n- b\n",
        b"just text",
        b"",
        b"# nothing\n",
        b"a: [",
        b"a: b: c",
        b"\xff\xfe\xfa",
        b"a: !!python/object:os.system {}",
        b"since: 2026-13-01",
        b"n: " + b"9" * 5000,
        b"[" * 5_000,
        b"{[1]: 2}",
        b"a: 1\n---\nb: 2\n",
        b"n: 0x" + b"f" * 5000,
        b"n: 1" + b":59" * 4000,
        b"a: " + b"[" * 400 + b"]" * 400,
        GROWING,
    ],
    ids=[
        "list",
        "text",
        "empty",
        "comment",
        "half",
        "nonsense",
        "binary",
        "object",
        "date",
        "number",
        "deep",
        "key",
        "two",
        "hexadecimal",
        "sexagesimal",
        "too deep to write",
        "merges without end",
    ],
)
@pytest.mark.timeout(20)
def test_a_templates_config_that_cannot_be_used_is_the_templates_fault(content: bytes) -> None:
    with pytest.raises(TemplateError) as caught:
        config(workspace(), content)

    assert (caught.value.code, caught.value.message.startswith("config.yaml in the template of langgraph ")) == (
        "template_malformed",
        True,
    )


def test_a_templates_config_that_is_no_mapping_is_named_with_its_commit() -> None:
    image = ImageOnRow(source="local", commit="0123456789" * 4)
    with pytest.raises(TemplateError) as caught:
        config(workspace(image=image), b"[1]")

    assert caught.value.as_dict() == {
        "error": "config.yaml in the template of langgraph at commit 012345678901 is not a mapping",
        "code": "template_malformed",
        "hint": "correct config.yaml in the template's repository and commit it",
    }


def test_the_token_is_its_owners_alone() -> None:
    token = token_file("s3cret")

    assert (token.path, token.content, token.mode) == ("/configs/.auth_token", b"s3cret", 0o600)


def test_what_a_template_says_it_needs_is_told_in_a_few_words_and_obeyed_by_no_terminal() -> None:
    names = ["\x1b]0;title\x07A_KEY", *(f"KEY_{n}" for n in range(10_000))]

    with pytest.raises(ConflictError) as caught:
        check_required({"runtime_config": {"required_env": names}}, {})

    assert (len(caught.value.message) < 600, "set: A_KEY, KEY_0" in caught.value.message) == (True, True)
