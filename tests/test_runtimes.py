"""The table of runtimes: which there are, what they are called, where their templates lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.errors import InvalidRequestError, SettingsError
from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX
from workspace_server.runtimes import Runtimes
from workspace_server.settings import load_settings

NINE = ["autogen", "claude-code", "codex", "crewai", "deepagents", "gemini-cli", "hermes", "langgraph", "openclaw"]


def table(**environ: str) -> Runtimes:
    return Runtimes.from_settings(load_settings(environ))


def test_a_plain_server_has_the_nine() -> None:
    assert table().names == NINE


def test_extra_runtimes_are_added_in_order() -> None:
    assert table(MOLECULE_EXTRA_RUNTIMES="my-agent,echo").names == sorted([*NINE, "echo", "my-agent"])


def test_a_built_in_name_is_not_there_twice() -> None:
    assert table(MOLECULE_EXTRA_RUNTIMES="codex,codex").names == NINE


@pytest.mark.parametrize("name", NINE)
def test_a_known_name_is_its_own(name: str) -> None:
    assert table().check(name) == name


@pytest.mark.parametrize("name", [None, ""])
def test_no_name_means_langgraph(name: str | None) -> None:
    assert table().check(name) == "langgraph"


@pytest.mark.parametrize("name", NINE)
def test_x_default_means_x(name: str) -> None:
    assert table().check(f"{name}-default") == name


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        table().check("lang-graph")

    assert caught.value.as_dict() == {
        "error": "unknown runtime: lang-graph",
        "code": "unknown_runtime",
        "hint": f"known runtimes: {', '.join(NINE)}",
    }


@pytest.mark.parametrize(
    "name", ["external", "default", "-default", "Langgraph", " langgraph", "../hermes", "hermes\n"]
)
def test_what_is_almost_a_name_is_never_coerced(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="unknown runtime"):
        table().check(name)


@given(name=st.text(min_size=1))
def test_whatever_is_asked_for_the_answer_is_in_the_table(name: str) -> None:
    runtimes = table()
    try:
        answer = runtimes.check(name)
    except InvalidRequestError:
        return

    assert answer in runtimes.names


@pytest.mark.parametrize("name", NINE)
def test_a_template_lies_under_the_projects_prefix(name: str) -> None:
    template = table().template(name)

    assert (template.runtime, str(template.url), template.ref, template.is_default) == (
        name,
        DEFAULT_TEMPLATE_PREFIX + name,
        None,
        True,
    )


def test_a_prefix_of_ones_own_moves_every_template() -> None:
    runtimes = table(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX="https://git.example.org/forks/t-")

    assert {str(runtimes.template(name).url) for name in NINE} == {f"https://git.example.org/forks/t-{n}" for n in NINE}


def test_a_template_under_a_prefix_of_ones_own_is_not_the_default() -> None:
    runtimes = table(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX="https://git.example.org/forks/t-")

    assert not runtimes.template("codex").is_default


def test_a_repository_of_ones_own_moves_one_template() -> None:
    runtimes = table(MOLECULE_TEMPLATE_REPO_CLAUDE_CODE="https://git.example.org/team/claude")
    moved = {name for name in NINE if not runtimes.template(name).is_default}

    assert (str(runtimes.template("claude-code").url), moved) == (
        "https://git.example.org/team/claude",
        {"claude-code"},
    )


def test_a_ref_is_one_runtimes() -> None:
    runtimes = table(MOLECULE_TEMPLATE_REF_CODEX="v1.2")

    assert {name: runtimes.template(name).ref for name in ("codex", "hermes")} == {"codex": "v1.2", "hermes": None}


def test_a_ref_alone_leaves_the_source_the_default() -> None:
    assert table(MOLECULE_TEMPLATE_REF_CODEX="v1.2").template("codex").is_default


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MOLECULE_TEMPLATE_REPO_MY_AGENT", "https://git.example.org/a"), ("MOLECULE_TEMPLATE_REF_MY_AGENT", "main")],
)
def test_a_variable_of_an_unknown_runtime_is_refused_with_what_would_add_it(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        table(**{variable: value})

    assert (caught.value.message, caught.value.hint) == (
        f"{variable} is set, but there is no runtime my-agent",
        f"known runtimes: {', '.join(NINE)}; MOLECULE_EXTRA_RUNTIMES=my-agent adds it",
    )


def test_a_variable_of_an_added_runtime_is_taken() -> None:
    runtimes = table(
        MOLECULE_EXTRA_RUNTIMES="my-agent", MOLECULE_TEMPLATE_REPO_MY_AGENT="https://git.example.org/team/a"
    )

    assert str(runtimes.template("my-agent").url) == "https://git.example.org/team/a"
