"""Which calls are passed on to the control plane, and with which headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.control_plane.upstream import answer_headers, is_passed_on, request_headers


@pytest.mark.parametrize(
    "path",
    [
        *("/cp/auth/me", "/cp/auth/", "/cp/auth/callback/github", "/cp/orgs", "/cp/orgs/", "/cp/orgs/acme/members"),
        *("/cp/billing/plan", "/cp/templates", "/cp/templates/a", "/cp/legal/terms", "/cp/orgs/a%20b/c@d"),
        "/cp/orgs/gr%C3%BCn",
    ],
)
def test_a_path_of_the_list_is_passed_on(path: str) -> None:
    assert is_passed_on(path.encode())


@pytest.mark.parametrize(
    "path",
    [
        *("/cp", "/cp/", "/cp/auth", "/cp/authx/", "/cp/orgsecrets", "/cp/templatesx", "/cp/billing", "/cp/legal"),
        *("/cp/workspaces/provision", "/cp/tenants/config", "/cp/admin/workspaces", "/CP/auth/me", "/cp/Auth/me"),
        *("/cp/auth/../admin", "/cp/auth/./me", "/cp/auth/..", "/cp/auth/.", "/cp/auth/x/../../admin/y"),
        *("/cp/auth/%2e%2e/admin", "/cp/auth/.%2E/admin", "/cp/auth/%2E", "/cp/auth%2fme", "/cp/auth/%2Fadmin"),
        *("/cp/auth/..%2fadmin", "/cp/auth/%5c..%5cadmin", "/cp/auth/\\admin", "/cp/auth/%252e%252e/admin"),
        *("/cp//auth/me", "//cp/auth/me", "/cp/auth//me", "/cp/auth/me//", "/cp/auth/..;/admin", "/cp/auth/x%3b/y"),
        *("/cp/auth/a?b", "/cp/auth/a%3fb", "/cp/auth/a#b", "/cp/auth/a%23b", "/cp/auth/%00", "/cp/auth/%0d%0aX"),
        *("/cp/auth/%7f", "/cp/auth/%", "/cp/auth/%zz", "/cp/auth/a b", "/cp/auth/\x00", "/cp/auth/é", "/cp/auth/\n"),
        *("cp/auth/me", "", "http://evil.example/cp/auth/me", "/cp/auth/me\n"),
    ],
)
def test_any_other_path_is_not(path: str) -> None:
    assert not is_passed_on(path.encode())


@given(st.binary(max_size=40))
def test_whatever_is_passed_on_has_no_step_up_and_no_second_reading(rest: bytes) -> None:
    path = b"/cp/auth/" + rest
    if is_passed_on(path):
        assert not any(segment in (b".", b"..") for segment in path.split(b"/"))
        assert not any(bad in path.lower() for bad in (b"//", b"\\", b";", b"%2f", b"%5c", b"%2e", b"%25", b"%00"))


SENT = [
    (b"Host", b"acme.example.org"),
    (b"Cookie", b"session=1"),
    (b"Authorization", b"Bearer t"),
    (b"Content-Length", b"3"),
    (b"Connection", b"keep-alive, X-Private"),
    (b"X-Private", b"1"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"trailers"),
    (b"Trailer", b"X"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Upgrade", b"websocket"),
    (b"Proxy-Authorization", b"Basic x"),
    (b"Proxy-Connection", b"close"),
    (b"Expect", b"100-continue"),
    (b"X-Forwarded-For", b"192.0.2.7"),
    (b"Accept-Encoding", b"br"),
]


def test_headers_of_one_connection_and_the_host_are_not_passed_on() -> None:
    assert request_headers(SENT, peer="10.0.0.1", authorization=True) == [
        (b"Cookie", b"session=1"),
        (b"Authorization", b"Bearer t"),
        (b"Content-Length", b"3"),
        (b"Accept-Encoding", b"br"),
        (b"x-forwarded-for", b"192.0.2.7, 10.0.0.1"),
    ]


def test_credentials_of_this_server_are_not_passed_on() -> None:
    names = [name for name, _ in request_headers(SENT, peer="10.0.0.1", authorization=False)]

    assert (b"Authorization" in names, b"Cookie" in names) == (False, True)


def test_an_answers_headers_come_back_each_of_several_and_none_of_one_connection() -> None:
    answered = [
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Date", b"today"),
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Location", b"https://id.example.org/"),
    ]

    assert answer_headers(answered) == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"location", b"https://id.example.org/"),
    ]
