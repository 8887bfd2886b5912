"""What the server does not start with: each refusal is a sentence with the variable, its value and an example."""

import pytest

from workspace_server.errors import SettingsError
from workspace_server.settings import load_settings

NOT_A_NUMBER = "is not a whole number"
NUMBERS = {
    "PORT": "8080",
    "MOLECULE_IMAGE_AUTO_REFRESH_SECONDS": "300",
    "MOLECULE_IMAGE_PULL_STALL_SECONDS": "300",
    "MOLECULE_IMAGE_PULL_MAX_SECONDS": "3600",
    "MOLECULE_LOCAL_BUILD_CONCURRENCY": "2",
    "MOLECULE_LOCAL_BUILD_MAX_SECONDS": "3600",
    "PROVISION_TIMEOUT_SECONDS": "600",
    "TIER2_MEMORY_MB": "512",
    "TIER3_MEMORY_MB": "2048",
    "TIER4_MEMORY_MB": "4096",
    "TIER2_CPU_SHARES": "1024",
    "TIER3_CPU_SHARES": "2048",
    "TIER4_CPU_SHARES": "4096",
}
NUMBERS_OR_BLANK = {**NUMBERS, "MOLECULE_MAX_TIER": "2"}
WORDS = {
    "MOLECULE_ENV": ("production", "'development', 'staging' or 'production'"),
    "MOLECULE_DEPLOY_MODE": ("self-hosted", "'saas' or 'self-hosted'"),
    "MOLECULE_OWNER_TOKEN": ("required", "'auto' or 'required'"),
    "IMAGE_AUTO_REFRESH": ("true", "'true' or 'false'"),
    "MOLECULE_IMAGE_PULL": ("always", "'missing' or 'always'"),
    "MOLECULE_WORKSPACE_RESTART_POLICY": ("no", "'no', 'always', 'unless-stopped' or 'on-failure'"),
    "MOLECULE_LOG_FORMAT": ("json", "'auto', 'human' or 'json'"),
    "MOLECULE_LOG_LEVEL": ("debug", "'debug', 'info', 'warning' or 'error'"),
}


def refusal(**environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings({"HOME": "/home/u", **environ})
    return caught.value


def test_a_wrong_port_names_the_variable_its_value_and_an_example() -> None:
    error = refusal(PORT="http")

    assert error.as_dict() == {
        "error": "PORT='http' is not a whole number",
        "code": "invalid_setting",
        "hint": "for example PORT=8080",
    }


@pytest.mark.parametrize("value", ["secret\n", "two words", "schlüssel"])
@pytest.mark.parametrize("variable", ["MOLECULE_CP_SHARED_SECRET", "PROVISION_SHARED_SECRET", "CP_ADMIN_API_TOKEN"])
def test_a_secret_that_no_header_can_carry_is_refused_and_not_shown(variable: str, value: str) -> None:
    error = refusal(**{variable: value})

    assert error.message == f"{variable}=*** must be visible ASCII characters alone: it is sent in a header"
    assert value.strip() not in str(error)


def test_a_hosted_server_needs_an_administrators_token_that_a_header_can_carry() -> None:
    error = refusal(MOLECULE_ORG_ID="org-1", ADMIN_TOKEN="schlüssel", PLATFORM_URL="https://acme.example.org")

    assert error.message == "MOLECULE_ORG_ID needs an ADMIN_TOKEN of visible ASCII characters: it is sent in a header"


@pytest.mark.parametrize("value", ["x", "1.5", "1e3", "0x10", "٣"])
@pytest.mark.parametrize("variable", sorted(NUMBERS_OR_BLANK))
def test_what_is_no_number_is_refused(variable: str, value: str) -> None:
    error = refusal(**{variable: value})

    assert (error.message, error.hint) == (
        f"{variable}='{value}' is not a whole number",
        f"for example {variable}={NUMBERS_OR_BLANK[variable]}",
    )


@pytest.mark.parametrize("variable", sorted(NUMBERS_OR_BLANK))
def test_zero_is_too_small(variable: str) -> None:
    assert refusal(**{variable: "0"}).message == f"{variable}='0' must be at least 1"


@pytest.mark.parametrize(
    ("variable", "value", "most"),
    [("PORT", "65536", 65535), ("MOLECULE_LOCAL_BUILD_CONCURRENCY", "65", 64), ("MOLECULE_MAX_TIER", "5", 4)],
)
def test_a_number_beyond_its_limit_is_refused(variable: str, value: str, most: int) -> None:
    assert refusal(**{variable: value}).message == f"{variable}='{value}' must be at most {most}"


@pytest.mark.parametrize("variable", sorted(WORDS))
def test_an_unknown_word_is_refused_with_the_known_ones(variable: str) -> None:
    example, words = WORDS[variable]
    error = refusal(**{variable: "prd"})

    assert (error.message, error.hint) == (f"{variable}='prd' must be {words}", f"for example {variable}={example}")


@pytest.mark.parametrize("value", ["1", "yes", "on", "y"])
def test_another_word_for_yes_is_no_refresh_and_no_silence(value: str) -> None:
    assert refusal(IMAGE_AUTO_REFRESH=value).message == f"IMAGE_AUTO_REFRESH='{value}' must be 'true' or 'false'"


@pytest.mark.parametrize("value", ["agents.example.org", "ftp://agents.example.org", "http://", "https://a b", "//a"])
def test_a_platform_url_without_http_and_a_host_is_refused(value: str) -> None:
    error = refusal(PLATFORM_URL=value)

    assert (error.message, error.hint) == (
        f"PLATFORM_URL='{value}' has the wrong form",
        "for example PLATFORM_URL=http://host.docker.internal:8080",
    )


@pytest.mark.parametrize("value", ["amd64", "linux", "linux/", "/amd64", "Linux/amd64", "linux/amd64/", " "])
def test_a_platform_without_system_and_architecture_is_refused(value: str) -> None:
    error = refusal(MOLECULE_IMAGE_PLATFORM=value)

    assert (error.message, error.hint) == (
        f"MOLECULE_IMAGE_PLATFORM='{value}' is not a platform (os/architecture)",
        "for example MOLECULE_IMAGE_PLATFORM=linux/arm64",
    )


@pytest.mark.parametrize("name", ["Echo", "-echo", "my_agent", "a b", "a" * 40, "../x", "é", "a/b"])
def test_a_name_that_is_no_runtimes_is_refused(name: str) -> None:
    error = refusal(MOLECULE_EXTRA_RUNTIMES=f"echo,{name}")

    assert (error.message, error.hint) == (
        (
            f"MOLECULE_EXTRA_RUNTIMES='echo,{name}' has a name that is not a runtime's:"
            f" '{name}' (letters a-z, digits and -, at most 39)"
        ),
        "for example MOLECULE_EXTRA_RUNTIMES=echo,my-agent",
    )


@pytest.mark.parametrize("url", ["http://cp.example.org", "http://10.0.0.7:9000", "http://localhost.example.org"])
def test_a_control_plane_that_others_could_overhear_sessions_at_is_refused(url: str) -> None:
    error = refusal(CP_UPSTREAM_URL=url)

    assert (error.message, error.hint) == (
        f"CP_UPSTREAM_URL='{url}' must begin with https://, unless it is on this machine: sessions are shown to it",
        "for example CP_UPSTREAM_URL=https://cp.example.org",
    )


@pytest.mark.parametrize("url", ["https://cp.example.org", "http://127.0.0.1:9000", "http://localhost", "http://[::1]"])
def test_a_control_plane_where_nobody_overhears_sessions_is_accepted(url: str) -> None:
    assert load_settings({"HOME": "/home/u", "CP_UPSTREAM_URL": url}).cp_upstream_url == url


@pytest.mark.parametrize("value", ["a b", "a/b", "a;b", "é", "a" * 129])
@pytest.mark.parametrize("variable", ["MOLECULE_ORG_ID", "MOLECULE_ORG_SLUG"])
def test_an_organisation_that_fits_no_header_and_no_address_is_refused(variable: str, value: str) -> None:
    assert refusal(**{variable: value}).message.startswith(f"{variable}='{value}' has the wrong form")


def test_production_without_an_admin_token_is_refused() -> None:
    assert refusal(MOLECULE_ENV="prod").message == (
        "MOLECULE_ENV=production needs ADMIN_TOKEN: without it only this machine's owner has access"
    )


def test_production_without_a_key_for_secrets_is_refused() -> None:
    assert refusal(MOLECULE_ENV="production", ADMIN_TOKEN="t").message == (
        "MOLECULE_ENV=production needs SECRETS_ENCRYPTION_KEY: a key beside the database protects nothing"
    )


def test_a_previous_key_without_a_present_one_is_refused() -> None:
    assert refusal(SECRETS_ENCRYPTION_KEY_PREVIOUS="k" * 32).message == (
        "SECRETS_ENCRYPTION_KEY_PREVIOUS is set without SECRETS_ENCRYPTION_KEY"
    )


@pytest.mark.parametrize("wrong", ["short", "k" * 33, "0" * 64, "not base64 in 44 characters, whatever it is!"])
def test_a_key_of_another_length_is_refused_and_not_shown(wrong: str) -> None:
    error = refusal(SECRETS_ENCRYPTION_KEY=wrong)

    assert (error.message, wrong in str(error)) == (
        "SECRETS_ENCRYPTION_KEY=*** is neither 32 characters nor base64 of 32 bytes",
        False,
    )


def test_production_with_a_blank_admin_token_is_refused() -> None:
    assert "needs ADMIN_TOKEN" in refusal(MOLECULE_ENV="production", ADMIN_TOKEN="  ").message


@pytest.mark.parametrize("variable", ["MOLECULE_REGISTRY_USER", "MOLECULE_REGISTRY_TOKEN"])
def test_half_a_pair_of_the_registry_is_refused(variable: str) -> None:
    error = refusal(**{variable: "hush"})

    assert error.message == "MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN go together: set both, or neither"


@pytest.mark.parametrize("variable", ["GHCR_USER", "GHCR_TOKEN"])
def test_half_a_pair_of_ghcr_is_none_and_no_refusal(variable: str) -> None:
    load_settings({"HOME": "/home/u", variable: "hush"})


def test_postgresql_needs_a_key_that_all_servers_share() -> None:
    assert refusal(DATABASE_URL="postgres://db").message == (
        "DATABASE_URL needs SECRETS_ENCRYPTION_KEY: all servers on a database share the key"
    )


@pytest.mark.parametrize("url", ["mysql://u:hush@db/x", "postgresql+asyncpg://u:hush@db/x", "db", "sqlite:///hush"])
def test_a_database_that_is_not_postgresql_is_refused_without_showing_its_url(url: str) -> None:
    error = refusal(DATABASE_URL=url, SECRETS_ENCRYPTION_KEY="k" * 32)

    assert (error.message, error.hint) == (
        "DATABASE_URL=*** does not begin with postgresql:// or postgres://; there is no other database but SQLite's",
        "for example DATABASE_URL=postgresql://user:password@db.example.org/molecule",
    )


def test_a_hosted_server_without_an_administrator_is_refused() -> None:
    assert refusal(MOLECULE_ORG_ID="org", PLATFORM_URL="https://acme.example.org").message == (
        "MOLECULE_ORG_ID needs ADMIN_TOKEN: a hosted server has no owner on its machine,"
        " and the control plane knows it by this token"
    )


def test_a_hosted_server_that_machines_elsewhere_cannot_reach_is_refused() -> None:
    assert refusal(MOLECULE_ORG_ID="org", ADMIN_TOKEN="t").message == (
        "MOLECULE_ORG_ID needs PLATFORM_URL: host.docker.internal means nothing to machines elsewhere"
    )


@pytest.mark.parametrize("variable", ["MOLECULE_CP_URL", "CP_PROVISION_URL"])
@pytest.mark.parametrize("url", ["http://cp.example.org", "http://10.0.0.7:9000", "http://localhost.example.org"])
def test_a_control_plane_that_others_could_listen_to_is_refused(variable: str, url: str) -> None:
    hosted = {"MOLECULE_ORG_ID": "org", "ADMIN_TOKEN": "t", "PLATFORM_URL": "https://acme.example.org"}
    assert refusal(**hosted, **{variable: url}).message == (
        "MOLECULE_ORG_ID needs a control plane at https:// (MOLECULE_CP_URL, CP_PROVISION_URL), or on this"
        " machine: the secrets of workspaces would be sent in plain text"
    )


@pytest.mark.parametrize("url", ["https://cp.example.org", "http://127.0.0.1:9000", "http://localhost", "http://[::1]"])
def test_a_control_plane_that_nobody_listens_to_is_accepted(url: str) -> None:
    hosted = {"MOLECULE_ORG_ID": "org", "ADMIN_TOKEN": "t", "PLATFORM_URL": "https://acme.example.org"}
    assert load_settings({"HOME": "/home/u", **hosted, "MOLECULE_CP_URL": url}).cp_url == url


@pytest.mark.parametrize("value", ["a b", "a/b", "a;b", "é", "a" * 129])
def test_a_name_of_an_organisation_that_fits_no_header_is_refused(value: str) -> None:
    assert refusal(MOLECULE_ORG_ID=value).message.startswith(f"MOLECULE_ORG_ID='{value}' has the wrong form")


def test_every_wrong_variable_is_named_at_once() -> None:
    error = refusal(PORT="x", MOLECULE_LOG_LEVEL="loud")

    assert (error.message, error.hint) == (
        "PORT='x' is not a whole number; MOLECULE_LOG_LEVEL='loud' must be 'debug', 'info', 'warning' or 'error'",
        "for example PORT=8080; for example MOLECULE_LOG_LEVEL=debug",
    )


def test_a_wrong_repository_of_one_runtime_names_that_runtimes_variable() -> None:
    error = refusal(MOLECULE_TEMPLATE_REPO_CLAUDE_CODE="ssh://git.example.org/x")

    assert (error.message, error.hint) == (
        (
            "MOLECULE_TEMPLATE_REPO_CLAUDE_CODE='ssh://git.example.org/x'"
            " must begin with https://, file:// or, on this machine only, http://"
        ),
        "for example MOLECULE_TEMPLATE_REPO_CLAUDE_CODE=https://git.example.org/team/echo",
    )


def test_a_home_that_is_no_text_is_no_reason_to_refuse() -> None:
    home = b"/home/m\xfcller".decode(errors="surrogateescape")

    assert load_settings({"HOME": home}).passed_on == {"HOME": home}
