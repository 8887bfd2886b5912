import base64
import os
from dataclasses import replace
from pathlib import Path

import pytest

from support.git_server import GitServer
from workspace_server.git.environment import GitAccess
from workspace_server.model.repository import RepositoryUrl
from workspace_server.settings import load_settings

PREFIX = "https://git.example.org/team/template-"
HEADER = "Basic " + base64.b64encode(b"oauth2:s3cret").decode()
OURS = RepositoryUrl.parse(f"{PREFIX}hermes")


@pytest.fixture
def own() -> GitAccess:
    return GitAccess.from_settings(
        load_settings(
            {
                "PATH": "/usr/bin",
                "HOME": "/home/me",
                "https_proxy": "http://proxy:3128",
                "SSL_CERT_FILE": "/etc/ca.pem",
                "DOCKER_CONFIG": "/home/me/.docker",
                "LANG": "de_DE.UTF-8",
                "GIT_DIR": "/somewhere",
                "GIT_TRACE": "1",
                "ADMIN_TOKEN": "admin",
                "MOLECULE_GITEA_TOKEN": "s3cret",
                "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": PREFIX,
            }
        )
    )


def configuration(env: dict[str, str]) -> dict[str, str]:
    count = int(env["GIT_CONFIG_COUNT"])
    return {env[f"GIT_CONFIG_KEY_{n}"]: env[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}


def test_git_gets_what_it_needs_of_the_environment_and_nothing_else(own: GitAccess) -> None:
    env = own.environment(OURS)
    ours = {name: value for name, value in env.items() if not name.startswith("GIT_CONFIG_")}
    assert ours == {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "https_proxy": "http://proxy:3128",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "GIT_SSL_CAINFO": "/etc/ca.pem",
        "LC_ALL": "C",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "https",
    }


def test_no_configuration_file_of_the_machine_or_the_user_is_read(own: GitAccess) -> None:
    env = own.environment(OURS)
    assert (env["GIT_CONFIG_NOSYSTEM"], env["GIT_CONFIG_GLOBAL"]) == ("1", os.devnull)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core.hooksPath", os.devnull),
        ("core.attributesFile", os.devnull),
        ("credential.helper", ""),
        ("filter.lfs.smudge", ""),
        ("filter.lfs.process", ""),
        ("filter.lfs.required", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("http.followRedirects", "false"),
        ("protocol.version", "2"),
        ("submodule.recurse", "false"),
    ],
)
def test_git_is_configured(own: GitAccess, key: str, value: str) -> None:
    assert configuration(own.environment(OURS))[key] == value


@pytest.mark.parametrize("url", ["https://git.example.org/a", "http://127.0.0.1:1/a", "file:///srv/a"])
def test_only_the_urls_own_protocol_is_allowed(own: GitAccess, url: str) -> None:
    repository = RepositoryUrl.parse(url)
    assert own.environment(repository)["GIT_ALLOW_PROTOCOL"] == repository.scheme


def test_the_certificates_git_was_given_by_name_win(own: GitAccess) -> None:
    access = replace(own, passed_on={"GIT_SSL_CAINFO": "/git.pem", "SSL_CERT_FILE": "/other.pem"})
    assert access.environment(OURS)["GIT_SSL_CAINFO"] == "/git.pem"


def test_without_being_asked_no_environment_has_the_token(own: GitAccess) -> None:
    assert not any("Basic" in value or "s3cret" in value for value in own.environment(OURS).values())


def test_the_token_is_bound_to_the_prefixs_origin(own: GitAccess) -> None:
    env = own.environment(OURS, with_token=True)
    assert configuration(env)["http.https://git.example.org/.extraHeader"] == f"Authorization: {HEADER}"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.org/elsewhere/on/the/host",
        "https://git.example.org:443/team/template-hermes",
    ],
)
def test_the_token_is_for_the_whole_origin(own: GitAccess, url: str) -> None:
    assert own.authorization(RepositoryUrl.parse(url)) == HEADER


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.org/team/template-hermes",
        "https://git.example.org.evil.org/team/template-hermes",
        "https://git.example.org:8443/team/template-hermes",
        "http://localhost/team/template-hermes",
        "file:///git.example.org/team/template-hermes",
    ],
)
def test_no_other_origin_gets_the_token(own: GitAccess, url: str) -> None:
    other = RepositoryUrl.parse(url)
    assert own.authorization(other) is None
    assert own.environment(other, with_token=True) == replace(own, token=None).environment(other)


def test_a_folder_never_gets_the_token_even_as_the_prefix() -> None:
    access = GitAccess(passed_on={}, token="s3cret", token_for=RepositoryUrl.parse("file:///srv/template-"))
    assert access.authorization(RepositoryUrl.parse("file:///srv/template-hermes")) is None


def test_what_is_printed_of_the_access_has_no_secret(own: GitAccess) -> None:
    assert "s3cret" not in repr(own)
    assert "proxy" not in repr(own)


async def test_git_itself_sees_no_configuration_but_ours(host: GitServer, access: GitAccess, tmp_path: Path) -> None:
    (tmp_path / "home" / ".gitconfig").write_text("[user]\n\tname = somebody\n")
    from workspace_server.concurrency import Deadline  # noqa: PLC0415
    from workspace_server.git.command import git  # noqa: PLC0415

    env = access.environment(RepositoryUrl.parse(host.repo_prefix))
    shown = await git(["config", "--list", "--show-scope"], env=env, deadline=Deadline(10), cwd=tmp_path)
    assert {line.split(b"\t")[0] for line in shown.stdout.splitlines()} == {b"command"}
