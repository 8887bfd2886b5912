"""A secret is in the settings and nowhere else: in no text of them, no refusal, and no child's environment."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace_server.cli.settings import print_settings
from workspace_server.errors import SettingsError
from workspace_server.settings import load_settings

SECRETS = {
    "ADMIN_TOKEN": "hush-admin",
    "MOLECULE_GITEA_TOKEN": "hush-gitea",
    "GHCR_TOKEN": "hush-ghcr",
    "MOLECULE_REGISTRY_TOKEN": "hush-registry",
}
USERS = {"MOLECULE_REGISTRY_USER": "puller"}

PASSED_ON = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "USER": "u",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "LC_CTYPE": "C",
    "TZ": "UTC",
    "TMPDIR": "/tmp",
    "XDG_RUNTIME_DIR": "/run/user/1",
    "XDG_CONFIG_HOME": "/home/u/.config",
    "DOCKER_CONFIG": "/home/u/.docker",
    "DOCKER_CONTEXT": "default",
    "DOCKER_CERT_PATH": "/certs",
    "DOCKER_TLS_VERIFY": "1",
    "HTTP_PROXY": "http://proxy:3128",
    "HTTPS_PROXY": "http://proxy:3128",
    "NO_PROXY": "localhost",
    "ALL_PROXY": "socks5://proxy",
    "http_proxy": "http://proxy:3128",
    "https_proxy": "http://proxy:3128",
    "no_proxy": "localhost",
    "all_proxy": "socks5://proxy",
    "SSL_CERT_FILE": "/ca.pem",
    "SSL_CERT_DIR": "/ca",
    "CURL_CA_BUNDLE": "/ca.pem",
    "GIT_SSL_CAINFO": "/ca.pem",
    "GIT_SSL_CAPATH": "/ca",
}
KEPT = [
    "ADMIN_TOKEN",
    "MOLECULE_GITEA_TOKEN",
    "SECRETS_ENCRYPTION_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "GITHUB_TOKEN",
    "GHCR_TOKEN",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "SSH_AUTH_SOCK",
    "GIT_ASKPASS",
    "GIT_CONFIG_COUNT",
    "GIT_SSH_COMMAND",
    "LD_PRELOAD",
    "PYTHONPATH",
    "DOCKER_HOST",
    "DOCKER_AUTH_CONFIG",
    "BUILDX_BUILDER",
    "PATH_SECRET",
    "MY_HOME",
    "home",
]


def test_the_text_of_the_settings_shows_no_secret() -> None:
    settings = load_settings({**SECRETS, **USERS})

    assert [text for text in (repr(settings), str(settings), settings.model_dump_json()) if "hush" in text] == []


def test_the_text_of_the_settings_shows_nothing_that_is_passed_on() -> None:
    settings = load_settings({"HTTP_PROXY": "http://u:hush@proxy"})

    assert [text for text in (repr(settings), str(settings), settings.model_dump_json()) if "hush" in text] == []


def test_the_printed_settings_show_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {**SECRETS, **USERS, "HOME": "/home/u"})
    print_settings()

    assert "hush" not in capsys.readouterr().out


def test_the_printed_settings_show_no_password_inside_a_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"PLATFORM_URL": "https://u:hush@agents.example.org", "HOME": "/home/u"})
    print_settings()

    assert "https://***@agents.example.org" in capsys.readouterr().out


def test_the_printed_settings_say_that_a_secret_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"ADMIN_TOKEN": "hush", "HOME": "/home/u"})
    print_settings()

    values = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    assert (values["ADMIN_TOKEN"], values["MOLECULE_GITEA_TOKEN"]) == ("***", "(unset)")


def test_every_secret_is_known_to_the_log() -> None:
    assert load_settings({**SECRETS, **USERS}).secrets == set(SECRETS.values())


def test_a_password_inside_a_url_is_known_to_the_log() -> None:
    urls = {
        "PLATFORM_URL": "https://u:hush-1@h",
        "https_proxy": "http://u:hush-2@h:1/",
        "NO_PROXY": "u:p@h",
        "HOME": "/u:p@h",
    }

    assert load_settings(urls).secrets == {"hush-1", "hush-2"}


def test_no_secret_is_known_when_none_is_set() -> None:
    assert load_settings({"ADMIN_TOKEN": " "}).secrets == frozenset()


def test_a_database_url_and_the_password_in_it_are_known_to_the_log() -> None:
    url = "postgres://u:hush@db/molecule"

    assert load_settings({"DATABASE_URL": url, "SECRETS_ENCRYPTION_KEY": "k" * 32}).secrets == {url, "hush", "k" * 32}


@pytest.mark.parametrize(
    "variable",
    ["MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX", "MOLECULE_TEMPLATE_REPO_HERMES", "MOLECULE_IMAGE_REGISTRY"],
)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://oauth2:hush@git.example.org/t-", "https://***@git.example.org/t-"),
        ("https://hush@git.example.org/t-", "https://***@git.example.org/t-"),
        ("https://u:hu/sh@git.example.org/t-", "https://***@git.example.org/t-"),
        ("u:hush@registry.example.org/ns", "***@registry.example.org/ns"),
        ("https://git.example.org/t-?private_token=hush", "https://git.example.org/t-?***"),
    ],
)
def test_a_refused_url_is_shown_without_its_secret(variable: str, value: str, shown: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value})

    assert caught.value.message.startswith(f"{variable}='{shown}' ")


@pytest.mark.parametrize("name", sorted(PASSED_ON))
def test_a_child_may_know_where_things_lie_and_how_to_get_out(name: str) -> None:
    assert load_settings({name: PASSED_ON[name]}).passed_on == {name: PASSED_ON[name]}


@pytest.mark.parametrize("name", KEPT)
def test_a_child_never_gets(name: str) -> None:
    assert load_settings({name: "a hushed value of 32 characters!"}).passed_on == {}


@pytest.mark.parametrize(
    "name", ["PATH", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_ID", "GOOGLE_APPLICATION_CREDENTIALS", "GNUPGHOME"]
)
def test_a_credential_helper_may_know_its_cloud(name: str) -> None:
    assert load_settings({name: "x"}).for_helpers == {name: "x"}


@pytest.mark.parametrize("name", [name for name in KEPT if not name.startswith("AWS_")])
def test_a_credential_helper_never_gets(name: str) -> None:
    assert load_settings({name: "hush" * 8}).for_helpers == {}


def test_the_text_of_the_settings_shows_nothing_that_helpers_may_know() -> None:
    settings = load_settings({"AWS_SECRET_ACCESS_KEY": "hush"})

    assert [text for text in (repr(settings), str(settings), settings.model_dump_json()) if "hush" in text] == []


@given(
    name=st.from_regex(
        r"[A-Z]{1,9}(_[A-Z]+)*_(TOKEN|SECRET|KEY|PASSWORD|CREDENTIALS)(_[A-Z]+)*", fullmatch=True
    ).filter(lambda name: not name.startswith(("MOLECULE_", "XDG_", "LC_")))
)
def test_nothing_named_like_a_secret_is_passed_on(name: str) -> None:
    assert load_settings({name: "a hushed value of 32 characters!"}).passed_on == {}
