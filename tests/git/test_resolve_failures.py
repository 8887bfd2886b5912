"""Every failure of a look-up, made to happen."""

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import (
    SourceError,
)
from workspace_server.git import Resolver, remote
from workspace_server.runtimes import Template

from .conftest import look_up_failure, template_at


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "template_repo_missing"),
        (410, "template_repo_missing"),
        (401, "template_repo_missing"),
        (403, "template_repo_missing"),
        (400, "git_unreachable"),
        (429, "git_unreachable"),
        (500, "git_unreachable"),
        (503, "git_unreachable"),
        (204, "git_unreachable"),
    ],
)
async def test_what_the_host_answers_to_strangers(
    host: GitServer, resolver: Resolver, template: Template, status: int, code: str
) -> None:
    host.faults.answer(status)
    assert (await look_up_failure(resolver, template)).code == code


@pytest.mark.parametrize("wrong", ["401", "403"])
async def test_a_refused_token_is_denied(host: GitServer, with_token: Resolver, template: Template, wrong: str) -> None:
    host.faults.require_token("another", wrong=wrong)  # type: ignore[arg-type]
    assert (await look_up_failure(with_token, template)).code == "git_denied"


async def test_a_missing_repository_is_missing(host: GitServer, resolver: Resolver) -> None:
    error = await look_up_failure(resolver, template_at(host.url + "o/none"))
    assert error.message.startswith(f"does not exist: the template repository {host.url}o/none of runtime hermes;")


async def test_a_repository_that_asks_for_a_log_in_is_missing_or_private(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.require_token("s3cret")
    assert (await look_up_failure(resolver, template)).message.startswith("does not exist or is private: ")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8"),
        ("0123456789012345678901234567890123456789\trefs/heads/main\n", "text/plain"),
    ],
    ids=["log-in page", "dumb protocol"],
)
async def test_a_page_instead_of_refs_is_missing_or_private(
    host: GitServer, resolver: Resolver, template: Template, body: str, content_type: str
) -> None:
    host.faults.answer(200, body, content_type)
    assert (await look_up_failure(resolver, template)).message.startswith("does not exist or is private: ")


async def test_the_right_media_type_with_nonsense_is_unreachable(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.answer(200, "<html>", "application/x-git-upload-pack-advertisement")
    assert (await look_up_failure(resolver, template)).code == "git_unreachable"


async def test_an_empty_repository_has_no_ref(host: GitServer, resolver: Resolver) -> None:
    repository = await host.create("o/empty")
    assert (await look_up_failure(resolver, template_at(repository.url))).code == "template_ref_missing"


async def test_a_head_that_names_no_branch_has_no_ref(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    await repository.delete_head()
    assert (await look_up_failure(resolver, template)).code == "template_ref_missing"


async def test_a_ref_that_is_not_there_is_missing(resolver: Resolver, repository: Repository) -> None:
    assert (await look_up_failure(resolver, template_at(repository.url, ref="v9"))).code == "template_ref_missing"


async def test_a_host_that_is_off_is_unreachable_in_the_exact_words(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    await host.stop()
    error = await look_up_failure(resolver, template)
    assert (error.code, error.message, error.hint) == (
        "git_unreachable",
        (
            f"local-build mode: Gitea unreachable at http://127.0.0.1:{host.port} — verify network or set"
            " MOLECULE_IMAGE_REGISTRY to a reachable registry"
        ),
        f"the connection failed: connection refused (runtime hermes, {template.url})",
    )


@pytest.mark.parametrize("after", [0, 20, 60, 10_000_000])
async def test_a_connection_that_is_cut_is_unreachable(
    host: GitServer, resolver: Resolver, repository: Repository, after: int
) -> None:
    host.faults.cut_off(after)
    assert (await look_up_failure(resolver, template_at(repository.url, ref="v9"))).code == "git_unreachable"


async def test_a_list_that_ends_too_early_is_unreachable(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    cut = f"001e# service=git-upload-pack\n0000{4 + 40 + 6:04x}{repository.tip()} HEAD\n"
    host.faults.answer(200, cut, "application/x-git-upload-pack-advertisement")
    assert (await look_up_failure(resolver, template_at(repository.url, ref="v9"))).code == "git_unreachable"


async def test_a_host_that_stays_silent_is_unreachable_after_the_limit(
    host: GitServer,
    resolver: Resolver,
    template: Template,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workspace_server.git.resolve.LOOK_UP_SECONDS", 0.05)
    host.faults.hold("info/refs")
    error = await look_up_failure(resolver, template)
    assert (error.code, error.hint) == (
        "git_unreachable",
        f"no complete answer in time: the look-up took longer than 0.05 s (runtime hermes, {template.url})",
    )


async def test_a_deadline_that_ends_during_the_look_up_is_unreachable(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.hold("info/refs")
    with pytest.raises(SourceError) as caught:
        await resolver.resolve(template, Deadline(0.05))
    assert caught.value.code == "git_unreachable"


async def test_a_list_without_end_is_given_up(
    resolver: Resolver, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 100)
    error = await look_up_failure(resolver, template_at(repository.url, ref="v9"))
    assert error.hint.startswith("the list of refs is longer than ")


async def test_a_host_without_tls_is_unreachable_with_the_cause(host: GitServer, resolver: Resolver) -> None:
    error = await look_up_failure(resolver, template_at(f"https://127.0.0.1:{host.port}/o/n"))
    assert error.hint.startswith("the connection failed: no common TLS ")


async def test_a_failure_is_logged_in_the_words_of_the_error(
    host: GitServer, resolver: Resolver, logs: list[dict[str, str]]
) -> None:
    error = await look_up_failure(resolver, template_at(host.url + "o/none"))
    assert logs == [
        {
            "event": error.message,
            "log_level": "warning",
            "runtime": "hermes",
            "url": host.url + "o/none",
            "code": "template_repo_missing",
            "cause": error.hint,
        }
    ]


async def test_a_missing_repository_names_the_runtimes_that_answered_last(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    for runtime in ("hermes", "codex"):
        await resolver.resolve(template_at(repository.url, runtime=runtime), Deadline(60))
    error = await look_up_failure(resolver, template_at(host.url + "o/none", runtime="autogen"))
    assert error.message.endswith("; runtimes last seen to be buildable: codex, hermes")


async def test_a_runtime_whose_repository_vanished_is_no_longer_named(
    host: GitServer, resolver: Resolver, repository: Repository, template: Template
) -> None:
    await resolver.resolve(template, Deadline(60))
    repository.faults.answer(404)
    error = await look_up_failure(resolver, template)
    assert error.message.endswith("; no runtime was seen to be buildable since the server started")


async def test_an_error_makes_no_request_of_its_own(host: GitServer, resolver: Resolver) -> None:
    await look_up_failure(resolver, template_at(host.url + "o/none"))
    assert host.count() == 1
