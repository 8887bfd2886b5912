import errno
import inspect
import os
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from workspace_server.errors import UnavailableError
from workspace_server.git.faults import (
    Fault,
    GitComplaint,
    GitFaultError,
    cache_translated,
    complaint_of,
    error_of,
    git_missing,
    http_translated,
    malformed,
)
from workspace_server.process import Completed

from .conftest import template_at

URL = "https://git.example.org/team/template-gemini-cli"
TEMPLATE = template_at(URL, runtime="gemini-cli")


def httpx_exceptions() -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, Exception)]


def raised(kind: type[Exception]) -> Exception:
    match kind:
        case httpx.HTTPStatusError:
            request = httpx.Request("GET", URL)
            return httpx.HTTPStatusError("x", request=request, response=httpx.Response(500, request=request))
        case httpx.StreamConsumed | httpx.StreamClosed | httpx.ResponseNotRead | httpx.RequestNotRead:
            return kind()
        case _:
            return kind("internal text")


@pytest.mark.parametrize("kind", httpx_exceptions())
def test_every_exception_of_the_http_library_is_translated(kind: type[Exception]) -> None:
    with pytest.raises(GitFaultError) as caught, http_translated():
        raise raised(kind)
    assert caught.value.fault is Fault.UNREACHABLE


@pytest.mark.parametrize("kind", httpx_exceptions())
def test_no_text_of_the_http_library_is_repeated(kind: type[Exception]) -> None:
    with pytest.raises(GitFaultError) as caught, http_translated():
        raise raised(kind)
    assert "internal text" not in caught.value.cause


@pytest.mark.parametrize(
    ("below", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "the connection failed: the host's name is not known"),
        (ssl.SSLCertVerificationError("x"), "the connection failed: its certificate is not trusted"),
        (ssl.SSLError("x"), "the connection failed: no common TLS"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "the connection failed: connection refused"),
        (ExceptionGroup("x", [OSError(errno.ENETUNREACH, "x")]), "the connection failed: network is unreachable"),
        (ValueError("x"), "the connection failed"),
    ],
)
def test_what_the_system_said_is_part_of_the_cause(below: Exception, words: str) -> None:
    with pytest.raises(GitFaultError) as caught, http_translated():
        raise httpx.ConnectError("internal text") from below
    assert caught.value.cause == words


def test_an_unreachable_host_has_the_exact_sentence() -> None:
    error = error_of(GitFaultError(Fault.UNREACHABLE, "the connection failed"), TEMPLATE, ["hermes"])
    assert error.as_dict() == {
        "error": "local-build mode: Gitea unreachable at https://git.example.org — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry",
        "code": "git_unreachable",
        "hint": f"the connection failed (runtime gemini-cli, {URL})",
    }


def test_a_missing_repository_is_named_with_what_can_be_built_and_set() -> None:
    error = error_of(GitFaultError(Fault.MISSING, "the host answered HTTP 404"), TEMPLATE, ["codex", "hermes"])
    assert error.as_dict() == {
        "error": f"does not exist: the template repository {URL} of runtime gemini-cli; runtimes last seen to be"
        " buildable: codex, hermes",
        "code": "template_repo_missing",
        "hint": "the host answered HTTP 404; set MOLECULE_TEMPLATE_REPO_GEMINI_CLI to the URL of its repository, or"
        " MOLECULE_IMAGE_REGISTRY to a registry that has its image",
    }


def test_a_hidden_repository_may_be_private_and_the_token_comes_last() -> None:
    error = error_of(GitFaultError(Fault.HIDDEN, "the host answered HTTP 401"), TEMPLATE, [])
    assert error.as_dict() == {
        "error": f"does not exist or is private: the template repository {URL} of runtime gemini-cli; no runtime was"
        " seen to be buildable since the server started",
        "code": "template_repo_missing",
        "hint": "the host answered HTTP 401; set MOLECULE_TEMPLATE_REPO_GEMINI_CLI to the URL of its repository, or"
        " MOLECULE_IMAGE_REGISTRY to a registry that has its image; if it is private, set MOLECULE_GITEA_TOKEN",
    }


def test_a_refused_token_is_named_with_the_repository() -> None:
    error = error_of(GitFaultError(Fault.DENIED, "the host answered HTTP 403"), TEMPLATE, [])
    assert error.as_dict() == {
        "error": f"MOLECULE_GITEA_TOKEN was refused by https://git.example.org for the template repository {URL} of"
        " runtime gemini-cli",
        "code": "git_denied",
        "hint": "the host answered HTTP 403; give MOLECULE_GITEA_TOKEN a token that may read this repository",
    }


def test_a_missing_ref_is_named_with_the_repository() -> None:
    error = error_of(GitFaultError(Fault.NO_REF, "it is not there"), template_at(URL, ref="v9"), [])
    assert error.as_dict() == {
        "error": f"the ref v9 was not found in the template repository {URL} of runtime hermes",
        "code": "template_ref_missing",
        "hint": "it is not there; MOLECULE_TEMPLATE_REF_HERMES names the branch, tag or full commit to use",
    }


def test_a_missing_head_is_named_as_such() -> None:
    error = error_of(GitFaultError(Fault.NO_REF, "it is empty"), TEMPLATE, [])
    assert error.message == f"a commit at HEAD was not found in the template repository {URL} of runtime gemini-cli"


def test_a_folder_is_missing_never_unreachable() -> None:
    error = error_of(GitFaultError(Fault.UNREACHABLE, "no answer"), template_at("file:///srv/hermes"), [])
    assert error.code == "template_repo_missing"


def test_a_bad_tree_names_the_commit() -> None:
    assert malformed(TEMPLATE, "a" * 40, "it has too much").as_dict() == {
        "error": "the template of runtime gemini-cli cannot be used: it has too much",
        "code": "template_malformed",
        "hint": f"change {URL}, commit {'a' * 40}",
    }


def test_a_missing_git_says_how_to_install_it() -> None:
    error = git_missing()
    assert error.code == "tool_missing"
    assert "apt-get install git" in error.hint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_place_and_how_to_prune(number: int) -> None:
    with pytest.raises(UnavailableError) as caught, cache_translated(Path("/c")):
        raise OSError(number, "x")
    assert caught.value.as_dict() == {
        "error": "no space left on the disk of the build cache /c",
        "code": "no_space",
        "hint": "make room with: workspace-server images prune; or move the cache with MOLECULE_LOCAL_BUILD_CACHE",
    }


def test_a_cache_that_cannot_be_written_says_why() -> None:
    with pytest.raises(UnavailableError) as caught, cache_translated(Path("/c")):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/c/hermes")
    assert caught.value.as_dict() == {
        "error": "the build cache /c cannot be used: Permission denied (/c/hermes)",
        "code": "cache_unusable",
        "hint": "give the user of this server a writable folder of its own with MOLECULE_LOCAL_BUILD_CACHE",
    }


@pytest.mark.parametrize(
    ("stderr", "complaint"),
    [
        (b"fatal: write error: No space left on device\n", GitComplaint.NO_SPACE),
        (b"error: unable to write file: Disk quota exceeded\n", GitComplaint.NO_SPACE),
        (b"fatal: remote error: upload-pack: not our ref 0123\n", GitComplaint.REFUSED),
        (b"error: Server does not allow request for unadvertised object 0123\n", GitComplaint.REFUSED),
        (b"fatal: remote error: want 0123456789 not valid\n", GitComplaint.REFUSED),
        (b"fatal: couldn't find remote ref refs/heads/x\n", GitComplaint.REFUSED),
        (b"fatal: the remote end hung up unexpectedly\n", GitComplaint.OTHER),
    ],
)
def test_the_words_of_git_that_are_read(stderr: bytes, complaint: GitComplaint) -> None:
    assert complaint_of(Completed(argv=["git"], returncode=128, stdout=b"", stderr=stderr)) is complaint
