"""Where images and templates come from: the registry, the template repositories, their refs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.errors import SettingsError
from workspace_server.settings import load_settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"

REFS = [
    "main",
    "v1.2",
    "feature/x",
    "release-1.0",
    "a@b",
    "dependabot/pip/x-1.2.3",
    "1.0+local",
    "_x",
    COMMIT,
    COMMIT[:7],
]
NOT_REFS = [
    "-main",
    "--upload-pack=x",
    ".hidden",
    "/main",
    "main/",
    "main.",
    "a..b",
    "a//b",
    "a@{0}",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[",
    "a\\b",
    "x.lock",
    "x.lock/y",
    "a\nb",
    "é",
    "$(id)",
]
REGISTRIES = {
    "registry.example.org/molecule-ai": "registry.example.org/molecule-ai",
    "registry.example.org": "registry.example.org",
    "registry.example.org/": "registry.example.org",
    "registry.example.org/molecule-ai/": "registry.example.org/molecule-ai",
    "  registry.example.org/molecule-ai \n": "registry.example.org/molecule-ai",
    "localhost": "localhost",
    "localhost:5000/a/b": "localhost:5000/a/b",
    "host:5000": "host:5000",
    "[::1]:5000/ns": "[::1]:5000/ns",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team",
}
NOT_REGISTRIES = [
    "https://registry.example.org",
    "registry.example.org/ns:latest",
    "registry.example.org/ns@sha256:" + "a" * 64,
    "registry.example.org/my ns",
    "registry.example.org/Molecule",
    "registry.example.org//ns",
    "registry.example.org/ns//",
    "/registry.example.org",
    "u:p@registry.example.org",
]


@pytest.mark.parametrize("value", sorted(REGISTRIES))
def test_a_registry_is_a_host_with_a_port_and_a_namespace(value: str) -> None:
    assert str(load_settings({"MOLECULE_IMAGE_REGISTRY": value}).image_registry) == REGISTRIES[value]


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_a_blank_registry_means_local_builds(value: str) -> None:
    assert load_settings({"MOLECULE_IMAGE_REGISTRY": value}).image_registry is None


@pytest.mark.parametrize("value", NOT_REGISTRIES)
def test_what_is_no_registry_is_refused_with_an_example(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"MOLECULE_IMAGE_REGISTRY": value})

    shown = value.replace("u:p@", "***@")
    reason = "is not a registry prefix (host[:port][/namespace], no scheme, tag or digest)"
    assert (caught.value.message, caught.value.hint) == (
        f"MOLECULE_IMAGE_REGISTRY='{shown}' {reason}",
        "for example MOLECULE_IMAGE_REGISTRY=registry.example.org/molecule-ai",
    )


@pytest.mark.parametrize("value", ["molecule-ai", "molecule-ai/team", "library"])
def test_a_bare_namespace_is_refused_because_it_would_mean_docker_hub(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"MOLECULE_IMAGE_REGISTRY": value})

    assert caught.value.message == (
        f"MOLECULE_IMAGE_REGISTRY='{value}' must begin with a registry host (with a dot or a port):"
        " a bare namespace would mean Docker Hub"
    )


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_registry_is_accepted_or_refused_with_the_variables_name(text: str) -> None:
    message = "MOLECULE_IMAGE_REGISTRY="
    try:
        load_settings({"MOLECULE_IMAGE_REGISTRY": text})
    except SettingsError as error:
        message = error.message

    assert message.startswith("MOLECULE_IMAGE_REGISTRY=")


@pytest.mark.parametrize(
    "value", ["https://git.example.org/forks/t-", "http://localhost:3000/t-", "http://[::1]/t-", "file:///srv/git/t-"]
)
def test_a_prefix_of_ones_own_is_taken(value: str) -> None:
    assert str(load_settings({"MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": value}).template_prefix) == value


@pytest.mark.parametrize(
    "value", ["http://git.example.org/t-", "git@git.example.org:t", "https://git.example.org/../t"]
)
def test_a_prefix_outside_the_rules_is_refused_with_an_example(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": value})

    assert caught.value.hint == (
        "for example MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=https://git.example.org/our-forks/template-"
    )


def test_a_runtimes_variables_carry_its_name_in_capitals() -> None:
    settings = load_settings(
        {
            "MOLECULE_TEMPLATE_REPO_CLAUDE_CODE": "https://git.example.org/team/claude",
            "MOLECULE_TEMPLATE_REF_GEMINI_CLI": "v2",
        }
    )

    assert (
        {name: str(url) for name, url in settings.template_repositories.items()},
        settings.template_refs,
    ) == ({"claude-code": "https://git.example.org/team/claude"}, {"gemini-cli": "v2"})


@pytest.mark.parametrize("ref", REFS)
def test_a_branch_a_tag_or_a_commit_is_a_ref(ref: str) -> None:
    assert load_settings({"MOLECULE_TEMPLATE_REF_HERMES": ref}).template_refs == {"hermes": ref}


@pytest.mark.parametrize("ref", NOT_REFS)
def test_what_git_would_not_take_for_a_ref_is_refused(ref: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"MOLECULE_TEMPLATE_REF_HERMES": ref})

    assert (caught.value.message, caught.value.hint) == (
        f"MOLECULE_TEMPLATE_REF_HERMES={ref!r} is not a branch, a tag or a full commit",
        "for example MOLECULE_TEMPLATE_REF_HERMES=v1.2",
    )


@given(ref=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_no_ref_that_passes_could_be_an_option_or_leave_its_folder(ref: str) -> None:
    try:
        load_settings({"MOLECULE_TEMPLATE_REF_HERMES": ref})
    except SettingsError:
        return

    assert not ref.startswith(("-", "/", "."))
    assert ".." not in ref
    assert ref.isprintable()
    assert " " not in ref


@pytest.mark.parametrize("name", ["a-", "external", "my-default", "builds", "buildx", "images", "locks"])
def test_a_name_that_would_never_be_found_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({"MOLECULE_EXTRA_RUNTIMES": name})


@pytest.mark.parametrize("name", ["a", "0", "my-agent", "a" * 39])
def test_a_name_of_letters_digits_and_dashes_is_a_runtimes(name: str) -> None:
    assert load_settings({"MOLECULE_EXTRA_RUNTIMES": name}).extra_runtimes == (name,)
