"""What a registry refuses, told by its own words as the engine repeats them."""

import aiodocker
import aiohttp
import pytest
from aiodocker.exceptions import DockerStreamError

from workspace_server.engine import Credentials
from workspace_server.engine.registry_faults import registry_fault, registry_of, retry_after
from workspace_server.errors import SourceError

REFERENCE = "registry.example.org/team/workspace-template-hermes:latest"
SHOWN = Credentials(host="registry.example.org", origin="the credentials of A and B", user="u", password="hush")


def fault(answer: str, status: int = 500) -> SourceError:
    found = registry_fault(REFERENCE, DockerStreamError(answer, status=status), SHOWN)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (404, "manifest for a:1 not found: manifest unknown: manifest unknown", "image_not_found"),
        (404, "repository a not found: name unknown: The repository does not exist", "image_not_found"),
        (500, "manifest unknown", "image_not_found"),
        (404, "pull access denied for a, repository does not exist or may require 'docker login'", "registry_denied"),
        (404, "pull access denied for a: denied: Your authorization token has expired", "registry_denied"),
        (500, 'Head "https://x/v2/a/manifests/1": unauthorized: authentication required', "registry_denied"),
        (500, 'Head "https://x/v2/a/manifests/1": no basic auth credentials', "registry_denied"),
        (500, 'Head "https://x/v2/a/manifests/1": denied', "registry_denied"),
        (401, "who are you", "registry_denied"),
        (403, "go away", "registry_denied"),
        (500, 'Get "https://x/v2/": dial tcp: lookup x on 10.0.0.1:53: no such host', "registry_unreachable"),
        (
            500,
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            "registry_unreachable",
        ),
        (500, 'Get "https://x/v2/": x509: certificate signed by unknown authority', "registry_unreachable"),
        (500, "received unexpected HTTP status: 503 Service Unavailable", "registry_unreachable"),
        (500, "expected HTTP 206 from byte range request", "registry_unreachable"),
        (500, "unexpected EOF", "registry_unreachable"),
        (500, "toomanyrequests: You have reached your pull rate limit", "registry_rate_limited"),
        (429, "slow down", "registry_rate_limited"),
        (500, "no matching manifest for linux/s390x in the manifest list entries", "image_platform_mismatch"),
        (500, "filesystem layer verification failed for digest sha256:0", "image_corrupted"),
        (500, "unknown blob", "image_corrupted"),
        (500, "failed to register layer: Error processing tar file: unexpected EOF", "image_corrupted"),
        (500, "unexpected commit digest sha256:0, expected sha256:1: failed precondition", "image_corrupted"),
    ],
)
def test_a_registrys_answer_is_told_by_its_own_words(status: int, answer: str, code: str) -> None:
    assert fault(answer, status).code == code


@pytest.mark.parametrize(
    "error",
    [
        aiodocker.DockerError(900, "cannot connect"),
        aiodocker.DockerError(500, "write /x: no space left on device"),
        aiohttp.ClientPayloadError("cut"),
        None,
    ],
)
def test_the_engines_own_failures_are_not_the_registrys(error: BaseException | None) -> None:
    assert registry_fault(REFERENCE, error, SHOWN) is None


@pytest.mark.parametrize(
    "answer",
    ["denied", "manifest unknown", "no such host", "toomanyrequests: slow down"],
    ids=lambda answer: answer[:6],
)
def test_a_refusal_names_image_registry_and_where_the_credentials_come_from(answer: str) -> None:
    message = fault(answer).message

    assert (REFERENCE in message, "registry registry.example.org" in message) == (True, True)
    assert message.endswith(f"{answer} (asked with the credentials of A and B)")


@pytest.mark.parametrize("answer", ["denied: hush", "unexpected hush", "toomanyrequests: dTpodXNo"])
def test_a_registry_that_repeats_the_credentials_is_not_quoted_with_them(answer: str) -> None:
    assert [secret for secret in ("hush", "dTpodXNo") if secret in str(fault(answer))] == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("toomanyrequests: retry-after: 37.5s, allowed: 44000/minute", "it may be asked again in 38 s"),
        ("toomanyrequests: You have reached your pull rate limit", "for how long is not known"),
    ],
)
def test_a_registry_that_is_asked_too_often_says_how_long_to_wait(answer: str, words: str) -> None:
    assert words in fault(answer).message


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ("retry-after: 413.4µs, allowed: 44000/minute", 1),
        ("retry-after: 1m30.5s", 91),
        ("retry-after: 2h0m0s", 7200),
        ("retry-after: 250ms", 1),
        ("Retry-After: 60", 60),
        ("retry after 60", 60),
        ("retry-after: soon", None),
        ("slow down", None),
    ],
)
def test_the_time_to_wait_is_read_in_whole_seconds(answer: str, seconds: int | None) -> None:
    assert retry_after(answer) == seconds


def test_another_platform_is_named() -> None:
    message = fault("no matching manifest for linux/s390x in the manifest list entries").message

    assert f"has the image {REFERENCE}, but not for linux/s390x" in message


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("registry.example.org/a:1", "registry.example.org"),
        ("localhost/a", "localhost"),
        ("host:5000/a/b", "host:5000"),
        ("python:3.11-slim", "Docker Hub"),
        ("library/python", "Docker Hub"),
    ],
)
def test_a_references_registry_is_its_first_part_when_that_is_a_host(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry
