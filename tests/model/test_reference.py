"""Registry prefixes by the grammar of image references."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.model.reference import RegistryPrefix

GRAMMAR = "is not a registry prefix (host[:port][/namespace], no scheme, tag or digest)"
BARE = "must begin with a registry host (with a dot or a port): a bare namespace would mean Docker Hub"

HOSTS = {
    "ghcr.io": "ghcr.io",
    "registry.example.org/molecule-ai": "registry.example.org",
    "registry.example.org:5000/molecule-ai": "registry.example.org:5000",
    "Registry.Example.ORG/ns": "Registry.Example.ORG",
    "localhost/ns": "localhost",
    "host:5000": "host:5000",
    "192.0.2.1:5000/ns": "192.0.2.1:5000",
    "[2001:db8::1]:5000/ns": "[2001:db8::1]:5000",
    "[::1]/ns": "[::1]",
    "a.b/c/d/e": "a.b",
    "a.b/c_d/e__f/g.h/i--j": "a.b",
}

COMPONENT = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
HOST = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]{1,5}(\.[a-zA-Z0-9]{1,5}){1,3}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"[a-zA-Z0-9]{1,5}:[0-9]{1,5}", fullmatch=True),
    st.just("localhost"),
)
PREFIX = st.builds(lambda host, path: "/".join([host, *path]), HOST, st.lists(COMPONENT, max_size=3))


@pytest.mark.parametrize("text", sorted(HOSTS))
def test_a_prefix_begins_with_its_host(text: str) -> None:
    assert RegistryPrefix.parse(text).host == HOSTS[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "https://ghcr.io",
        "ghcr.io/ns:latest",
        "ghcr.io:latest",
        "ghcr.io/ns@sha256:" + "0" * 64,
        "ghcr.io/NS",
        "ghcr.io/n s",
        "ghcr.io/ns ",
        "ghcr.io//ns",
        "ghcr.io/ns//",
        "ghcr.io/-ns",
        "ghcr.io/ns-",
        "ghcr.io/n..s",
        "ghcr.io/n___s",
        "ghcr.io:/ns",
        "ghcr.io:123456/ns",
        "-ghcr.io/ns",
        "ghcr-.io/ns",
        "gh_cr.io/ns",
        "user@ghcr.io/ns",
        "[::1/ns",
        "::1/ns",
        "ghcr.io/ns\n",
        "ghcr.io/nś",
    ],
)
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(GRAMMAR)}$"):
        RegistryPrefix.parse(text)


@pytest.mark.parametrize("text", ["molecule-ai", "molecule-ai/team", "library/", "Localhost"])
def test_a_first_part_that_could_be_docker_hubs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(BARE)}$"):
        RegistryPrefix.parse(text)


def test_an_image_lies_under_the_prefix_with_the_tag_that_deployments_use() -> None:
    prefix = RegistryPrefix.parse("ghcr.io/molecule-ai")

    assert prefix.image("claude-code") == "ghcr.io/molecule-ai/workspace-template-claude-code:latest"


@given(text=PREFIX)
def test_every_prefix_of_the_grammar_is_taken_as_it_is(text: str) -> None:
    assert str(RegistryPrefix.parse(text)) == text


@given(text=PREFIX)
def test_one_slash_at_the_end_changes_nothing(text: str) -> None:
    assert RegistryPrefix.parse(text + "/") == RegistryPrefix.parse(text)


@given(text=PREFIX, runtime=st.from_regex(r"[a-z0-9][a-z0-9-]{0,38}", fullmatch=True))
def test_the_image_is_the_prefix_and_one_more_part(text: str, runtime: str) -> None:
    *prefix, image = RegistryPrefix.parse(text).image(runtime).split("/")

    assert ("/".join(prefix), image) == (text, f"workspace-template-{runtime}:latest")


@given(text=st.text(alphabet="aZ0.-_:/@[] \n", max_size=12))
def test_whatever_passes_names_a_host_and_holds_nothing_strange(text: str) -> None:
    try:
        prefix = RegistryPrefix.parse(text)
    except ValueError:
        return

    namespace = str(prefix).removeprefix(prefix.host)
    assert re.search(r"[.:]|^localhost$", prefix.host)
    assert re.fullmatch(r"(/[a-z0-9._-]+)*", namespace)
