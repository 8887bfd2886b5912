"""Which URLs of Git repositories pass, and what they are afterwards."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX, RepositoryUrl

PASS = {
    DEFAULT_TEMPLATE_PREFIX: DEFAULT_TEMPLATE_PREFIX,
    "https://git.example.org/team/t": "https://git.example.org/team/t",
    "https://git.example.org/team/t.git": "https://git.example.org/team/t.git",
    "https://git.example.org/team/": "https://git.example.org/team/",
    "HTTPS://Git.Example.ORG/Team": "https://git.example.org/Team",
    "https://git.example.org:8443/t": "https://git.example.org:8443/t",
    "https://git.example.org:/t": "https://git.example.org/t",
    "https://my_gitea/t": "https://my_gitea/t",
    "https://[2001:DB8::1]:3000/t": "https://[2001:db8::1]:3000/t",
    "https://git.example.org/~me/t@2/a+b": "https://git.example.org/~me/t@2/a+b",
    "http://localhost:3000/t": "http://localhost:3000/t",
    "http://127.0.0.1/t": "http://127.0.0.1/t",
    "http://127.1.2.3/t": "http://127.1.2.3/t",
    "http://[::1]:3000/t": "http://[::1]:3000/t",
    "file:///srv/git/t": "file:///srv/git/t",
    "file:/srv/git/t": "file:///srv/git/t",
}

SCHEME = "must begin with https://, file:// or, on this machine only, http://"
LOOPBACK = "must begin with https:// unless the host is this machine"
USER = "must not contain a user name or password; a token belongs in MOLECULE_GITEA_TOKEN"
QUERY = "must not have a query or a fragment"
PATH = "must have a plain path of letters, digits and . _ ~ @ + -"
SPACE = "must not contain white space or control characters"
HOST = "must name a host"

REFUSED = {
    "": SCHEME,
    "git.example.org/t": SCHEME,
    "git@git.example.org:t": SCHEME,
    "ssh://git.example.org/t": SCHEME,
    "git://git.example.org/t": SCHEME,
    "ext::sh -c id": SPACE,
    "ext::id": SCHEME,
    "-u/x": SCHEME,
    "http://git.example.org/t": LOOPBACK,
    "http://192.168.0.1/t": LOOPBACK,
    "http://localhost.example.org/t": LOOPBACK,
    "http://127.0.0.1.example.org/t": LOOPBACK,
    "https://u:p@git.example.org/t": USER,
    "https://token@git.example.org/t": USER,
    "https://@git.example.org/t": USER,
    "http://localhost@git.example.org/t": USER,
    "https://git.example.org/t?x=1": QUERY,
    "https://git.example.org/t?": QUERY,
    "https://git.example.org/t#main": QUERY,
    "https://git.example.org/t#": QUERY,
    "https://git.example.org": PATH,
    "https://git.example.org/": PATH,
    "https://git.example.org//t": PATH,
    "https://git.example.org/../t": PATH,
    "https://git.example.org/a/..": PATH,
    "file:///srv/../etc": PATH,
    "https://git.example.org/%2e%2e/t": PATH,
    "https://git.example.org/a;b": PATH,
    "https://git.example.org/a\\b": PATH,
    "file:t": PATH,
    "https://git.example.org/a b": SPACE,
    " https://git.example.org/t": SPACE,
    "https://git.example.org/t\n": SPACE,
    "https://git.example.org/a\tb": SPACE,
    "https://git.example.org/a\x00b": SPACE,
    "https:///t": HOST,
    "https://:443/t": HOST,
    "https://-oProxyCommand=id/t": HOST,
    "https://git.example.org;id/t": HOST,
    "https://git%2eexample.org/t": HOST,
    "https://git.example.org\\@x/t": USER,
    "https://gít.example.org/t": HOST,
    "file://server/t": "must have three slashes: file:///path",
    "https://git.example.org:x/t": "is not a URL",
    "https://git.example.org:65536/t": "is not a URL",
    "https://[::1/t": "is not a URL",
}

NAME = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
URL = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}/{'/'.join(path)}",
    st.just("https"),
    st.lists(NAME, min_size=1, max_size=3).map(".".join),
    st.one_of(st.just(""), st.integers(0, 65535).map(lambda port: f":{port}")),
    st.lists(NAME, min_size=1, max_size=3),
)


@pytest.mark.parametrize("text", sorted(PASS))
def test_a_url_that_passes_has_one_form(text: str) -> None:
    assert str(RepositoryUrl.parse(text)) == PASS[text]


@pytest.mark.parametrize("text", sorted(REFUSED))
def test_a_url_outside_the_rules_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED[text])}$"):
        RepositoryUrl.parse(text)


@given(text=URL)
def test_a_plain_url_is_taken_as_it_is(text: str) -> None:
    assert str(RepositoryUrl.parse(text)) == text


@given(text=st.one_of(st.text(max_size=20), URL).map(str) | st.builds(str.__add__, URL, st.text(max_size=5)))
def test_what_passed_once_passes_unchanged_again(text: str) -> None:
    try:
        once = RepositoryUrl.parse(text)
    except ValueError:
        return

    assert RepositoryUrl.parse(once.text) == once


@given(text=st.builds(lambda *parts: "".join(parts), st.sampled_from(["https://", "http://", "file://"]), st.text()))
def test_whatever_passes_holds_no_user_no_query_and_no_way_up(text: str) -> None:
    try:
        passed = RepositoryUrl.parse(text).text
    except ValueError:
        return

    assert re.fullmatch(r"(https?|file)://[a-z0-9._:\[\]-]*(/[A-Za-z0-9._~@+-]+)+/?", passed)
    assert ".." not in passed.split("/")


def test_a_prefix_is_joined_with_the_runtimes_name() -> None:
    prefix = RepositoryUrl.parse("https://git.example.org/forks/template-")

    assert str(prefix.joined("claude-code")) == "https://git.example.org/forks/template-claude-code"


@pytest.mark.parametrize(
    ("text", "scheme", "origin"),
    [
        ("https://git.example.org:8443/team/t", "https", "https://git.example.org:8443"),
        ("http://[::1]:3000/t", "http", "http://[::1]:3000"),
        ("file:///srv/t", "file", "file://"),
    ],
)
def test_the_origin_is_scheme_host_and_port(text: str, scheme: str, origin: str) -> None:
    url = RepositoryUrl.parse(text)

    assert (url.scheme, url.origin) == (scheme, origin)


def test_a_repository_is_the_same_with_and_without_git_at_its_end() -> None:
    one, other = (RepositoryUrl.parse(f"https://git.example.org/t{end}") for end in ("", ".git"))

    assert (one.source, one.digest) == (other.source, other.digest)


def test_the_digest_is_the_beginning_of_the_sources_sha256() -> None:
    url = RepositoryUrl.parse("https://git.example.org/t")

    assert url.digest == hashlib.sha256(b"https://git.example.org/t").hexdigest()[:8]
