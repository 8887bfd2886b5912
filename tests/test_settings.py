"""What the environment's variables mean."""

from pathlib import Path
from typing import Any

import pytest

from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX
from workspace_server.settings import Environment, Settings, load_settings

VALID = [
    ("PORT", "9000", "port", 9000),
    ("PORT", "1", "port", 1),
    ("PORT", "65535", "port", 65535),
    ("MOLECULE_BIND", "192.0.2.1", "bind", "192.0.2.1"),
    ("PLATFORM_URL", "https://agents.example.org/base", "platform_url", "https://agents.example.org/base"),
    ("PLATFORM_URL", "http://host.docker.internal:8080", "platform_url", "http://host.docker.internal:8080"),
    ("MOLECULE_OWNER_TOKEN", "required", "owner_proof", "required"),
    ("CORS_ORIGINS", "https://a.example", "allowed_origins", {"https://a.example"}),
    (
        "CORS_ORIGINS",
        " https://a.example , ,https://b.example",
        "allowed_origins",
        {"https://a.example", "https://b.example"},
    ),
    ("MOLECULE_DATA_DIR", "/srv/molecule", "data_dir", Path("/srv/molecule")),
    ("MOLECULE_IMAGE_PLATFORM", "linux/arm64", "image_platform", "linux/arm64"),
    ("MOLECULE_IMAGE_PLATFORM", "linux/arm/v7", "image_platform", "linux/arm/v7"),
    ("MOLECULE_IMAGE_PULL", "always", "image_pull", "always"),
    ("IMAGE_AUTO_REFRESH", "true", "auto_refresh", True),
    ("IMAGE_AUTO_REFRESH", " TRUE ", "auto_refresh", True),
    ("IMAGE_AUTO_REFRESH", "false", "auto_refresh", False),
    ("IMAGE_AUTO_REFRESH", "0", "auto_refresh", False),
    ("IMAGE_AUTO_REFRESH", "", "auto_refresh", False),
    ("MOLECULE_IMAGE_AUTO_REFRESH_SECONDS", "1", "auto_refresh_seconds", 1),
    ("MOLECULE_IMAGE_PULL_STALL_SECONDS", "1", "pull_stall_seconds", 1),
    ("MOLECULE_IMAGE_PULL_MAX_SECONDS", "1", "pull_max_seconds", 1),
    ("GHCR_USER", "octocat", "ghcr_user", "octocat"),
    ("MOLECULE_LOCAL_BUILD_CACHE", "/srv/cache", "build_cache", Path("/srv/cache")),
    ("MOLECULE_EXTRA_RUNTIMES", "echo, my-agent,", "extra_runtimes", ("echo", "my-agent")),
    ("MOLECULE_LOCAL_BUILD_CONCURRENCY", "64", "build_concurrency", 64),
    ("MOLECULE_LOCAL_BUILD_MAX_SECONDS", "1", "build_max_seconds", 1),
    ("PROVISION_TIMEOUT_SECONDS", "5", "provision_timeout_seconds", 5),
    ("MOLECULE_MAX_TIER", "4", "max_tier", 4),
    ("TIER2_MEMORY_MB", "100", "tier2_memory_mb", 100),
    ("TIER3_MEMORY_MB", "100", "tier3_memory_mb", 100),
    ("TIER4_MEMORY_MB", "100", "tier4_memory_mb", 100),
    ("TIER2_CPU_SHARES", "100", "tier2_cpu_shares", 100),
    ("TIER3_CPU_SHARES", "100", "tier3_cpu_shares", 100),
    ("TIER4_CPU_SHARES", "100", "tier4_cpu_shares", 100),
    ("MOLECULE_WORKSPACE_RESTART_POLICY", "on-failure", "restart_policy", "on-failure"),
    ("DOCKER_HOST", "tcp://engine:2376", "docker_host", "tcp://engine:2376"),
    ("MOLECULE_LOG_FORMAT", "json", "log_format", "json"),
    ("MOLECULE_LOG_LEVEL", "debug", "log_level", "debug"),
]

DEFAULTS: dict[str, Any] = {
    "port": 8080,
    "bind": None,
    "platform_url": None,
    "environment": Environment.DEVELOPMENT,
    "admin_token": None,
    "owner_proof": "auto",
    "cors_origins": "http://localhost:3000,http://localhost:3001",
    "data_dir": Path("/home/u/.local/share/molecule"),
    "image_registry": None,
    "image_platform": None,
    "image_pull": "missing",
    "auto_refresh": False,
    "auto_refresh_seconds": 300,
    "pull_stall_seconds": 300,
    "pull_max_seconds": 3600,
    "ghcr_user": None,
    "ghcr_token": None,
    "registry_user": None,
    "registry_token": None,
    "build_cache": Path("/home/u/.cache/molecule/workspace-template-build"),
    "gitea_token": None,
    "extra_runtimes": (),
    "template_repositories": {},
    "template_refs": {},
    "build_concurrency": 2,
    "build_max_seconds": 3600,
    "provision_timeout_seconds": None,
    "max_tier": None,
    "tier2_memory_mb": 512,
    "tier3_memory_mb": 2048,
    "tier4_memory_mb": 4096,
    "tier2_cpu_shares": 1024,
    "tier3_cpu_shares": 2048,
    "tier4_cpu_shares": 4096,
    "restart_policy": "no",
    "docker_host": None,
    "log_format": "auto",
    "log_level": "info",
    "database_url": None,
    "redis_url": None,
    "org_id": None,
    "org_slug": None,
    "deploy_mode": None,
    "hosted": False,
    "cp_url": "https://api.moleculesai.app",
    "cp_upstream_url": None,
    "passed_on": {"HOME": "/home/u"},
    "for_helpers": {"HOME": "/home/u"},
}


def load(**environ: str) -> Settings:
    return load_settings({"HOME": "/home/u", **environ})


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_an_empty_environment_means_the_defaults(name: str) -> None:
    assert getattr(load(), name) == DEFAULTS[name]


def test_templates_come_from_the_projects_own_host_by_default() -> None:
    assert str(load().template_prefix) == DEFAULT_TEMPLATE_PREFIX


@pytest.mark.parametrize(("variable", "value", "name", "expected"), VALID)
def test_a_valid_value_is_parsed(variable: str, value: str, name: str, expected: object) -> None:
    assert getattr(load(**{variable: value}), name) == expected


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("PORT", "port"),
        ("MOLECULE_LOG_FORMAT", "log_format"),
        ("PROVISION_TIMEOUT_SECONDS", "provision_timeout_seconds"),
        ("MOLECULE_BIND", "bind"),
        ("PLATFORM_URL", "platform_url"),
        ("MOLECULE_ENV", "environment"),
        ("ADMIN_TOKEN", "admin_token"),
        ("MOLECULE_DATA_DIR", "data_dir"),
        ("MOLECULE_IMAGE_REGISTRY", "image_registry"),
        ("MOLECULE_IMAGE_PULL", "image_pull"),
        ("GHCR_USER", "ghcr_user"),
        ("MOLECULE_REGISTRY_TOKEN", "registry_token"),
        ("MOLECULE_LOCAL_BUILD_CACHE", "build_cache"),
        ("MOLECULE_GITEA_TOKEN", "gitea_token"),
        ("MOLECULE_EXTRA_RUNTIMES", "extra_runtimes"),
        ("MOLECULE_TEMPLATE_REPO_HERMES", "template_repositories"),
        ("MOLECULE_TEMPLATE_REF_HERMES", "template_refs"),
        ("MOLECULE_MAX_TIER", "max_tier"),
        ("DOCKER_HOST", "docker_host"),
        ("DATABASE_URL", "database_url"),
        ("REDIS_URL", "redis_url"),
        ("MOLECULE_ORG_ID", "org_id"),
        ("MOLECULE_ORG_SLUG", "org_slug"),
        ("MOLECULE_DEPLOY_MODE", "deploy_mode"),
    ],
)
def test_a_blank_value_is_as_good_as_none(variable: str, name: str, blank: str) -> None:
    assert getattr(load(**{variable: blank}), name) == DEFAULTS[name]


def test_no_origins_may_call_when_the_list_is_blank() -> None:
    assert load(CORS_ORIGINS=" ").allowed_origins == frozenset()


def test_an_empty_platform_is_a_choice_and_not_the_default() -> None:
    assert load(MOLECULE_IMAGE_PLATFORM="").image_platform == ""


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dev", Environment.DEVELOPMENT),
        ("development", Environment.DEVELOPMENT),
        ("Development", Environment.DEVELOPMENT),
        ("staging", Environment.STAGING),
        (" STAGING ", Environment.STAGING),
        ("prod", Environment.PRODUCTION),
        ("production", Environment.PRODUCTION),
        ("PROD", Environment.PRODUCTION),
    ],
)
def test_the_kind_of_deployment_has_short_and_long_words(word: str, expected: Environment) -> None:
    assert load(MOLECULE_ENV=word, ADMIN_TOKEN="t", SECRETS_ENCRYPTION_KEY="k" * 32).environment == expected


@pytest.mark.parametrize(
    ("word", "with_org", "expected"),
    [
        ("", False, False),
        ("", True, True),
        ("saas", False, True),
        (" SaaS ", True, True),
        *((word, True, False) for word in ("self-hosted", "selfhosted", "standalone", "Self-Hosted")),
    ],
)
def test_whose_machine_it_runs_on_is_said_or_follows_from_the_organisation(
    word: str, *, with_org: bool, expected: bool
) -> None:
    org = {"MOLECULE_ORG_ID": "org", "ADMIN_TOKEN": "t", "PLATFORM_URL": "https://acme.example.org"}

    assert load(MOLECULE_DEPLOY_MODE=word, **(org if with_org else {})).hosted is expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_DATA_HOME": "/x/data"}, "/x/data/molecule"),
        ({"XDG_DATA_HOME": "relative"}, "/home/u/.local/share/molecule"),
        ({"XDG_DATA_HOME": ""}, "/home/u/.local/share/molecule"),
        ({"XDG_DATA_HOME": "/x/data", "MOLECULE_DATA_DIR": "/own"}, "/own"),
    ],
)
def test_data_lies_where_the_user_keeps_data(environ: dict[str, str], expected: str) -> None:
    assert load(**environ).data_dir == Path(expected)


def test_the_cache_lies_where_the_user_keeps_caches() -> None:
    assert load(XDG_CACHE_HOME="/x").build_cache == Path("/x/molecule/workspace-template-build")


def test_agents_reach_the_server_under_its_port_by_default() -> None:
    assert load(PORT="9000").agents_url == "http://host.docker.internal:9000"


def test_agents_reach_the_server_under_the_platforms_url_when_it_is_set() -> None:
    assert load(PLATFORM_URL="https://agents.example.org").agents_url == "https://agents.example.org"


@pytest.mark.parametrize(
    ("environ", "runtime", "expected"),
    [
        ({}, "langgraph", 600),
        ({}, "hermes", 1800),
        ({"PROVISION_TIMEOUT_SECONDS": "7"}, "hermes", 7),
        ({"PROVISION_TIMEOUT_SECONDS": "7"}, "langgraph", 7),
    ],
)
def test_an_agent_has_so_many_seconds_to_call(environ: dict[str, str], runtime: str, expected: float) -> None:
    assert load(**environ).start_limit(runtime) == expected


def test_every_variable_says_what_it_is_for_and_gives_an_example() -> None:
    fields = [field for field in Settings.model_fields.values() if field.alias]

    assert [field.alias for field in fields if not (field.description and field.examples)] == []


@pytest.mark.parametrize(
    "field", [field for field in Settings.model_fields.values() if field.alias], ids=lambda field: field.alias
)
def test_every_example_is_valid(field: Any) -> None:
    unsupported = field.examples == ["(unset)"]
    variable = field.alias.replace("*", "HERMES")
    needed = {"ADMIN_TOKEN": "t", "MOLECULE_REGISTRY_USER": "u", "MOLECULE_REGISTRY_TOKEN": "t"}
    needed |= {"PLATFORM_URL": "https://acme.example.org"}

    others = needed | {"SECRETS_ENCRYPTION_KEY": "k" * 32}
    load(**({} if unsupported else others | {variable: field.examples[0]}))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1
