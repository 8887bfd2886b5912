"""What a workspace's container is told: its environment and its files under ``/configs``. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from workspace_server.errors import ConflictError, TemplateError
from workspace_server.model.container import ContainerFile
from workspace_server.model.workspace import Workspace
from workspace_server.text import plain, shortened

CONFIG_PATH = "/configs"
_AGENT_DOMAIN = "agents.moleculesai.app"
_UNICODE_BREAKS = re.compile("[\x85\u2028\u2029]")
_MOST_KEYS = 100_000
_LONGEST_LIST = 500
_NO_TIMEOUT_KEY = frozenset({"langgraph", "deepagents"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a config.yaml comes from, as complaints about it say, and what to do about them."""

    where: str
    hint: str


def environment(workspace: Workspace, platform_url: str, secrets: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of a workspace's container. Secrets replace all but what the server itself must say."""
    slug = re.sub(r"[^a-z0-9]+", "-", workspace.name.lower()).strip("-")
    author = f"Molecule AI {workspace.name}"
    email = f"{slug or workspace.id}@{_AGENT_DOMAIN}"
    optional = {
        "MOLECULE_AGENT_ROLE": workspace.role,
        "HERMES_DEFAULT_MODEL": workspace.model if workspace.runtime == "hermes" else None,
    }
    return {
        "GIT_AUTHOR_NAME": author,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": author,
        "GIT_COMMITTER_EMAIL": email,
        "PLUGINS_DIR": "/plugins",
        "PYTHONPATH": "/app",
        **secrets,
        **{name: value for name, value in optional.items() if value},
        "WORKSPACE_ID": workspace.id,
        "WORKSPACE_CONFIG_PATH": CONFIG_PATH,
        "PLATFORM_URL": platform_url,
        "MOLECULE_URL": platform_url,
        "TIER": str(workspace.tier),
    }


def token_file(token: str) -> ContainerFile:
    """The agent's token, where it looks for it."""
    return ContainerFile(path=f"{CONFIG_PATH}/.auth_token", content=token.encode(), mode=0o600)


def check_required(config: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Raise ConflictError ``required_env_missing``, naming all variables the runtime needs and the container lacks."""
    runtime_config = config.get("runtime_config")
    required = runtime_config.get("required_env") if isinstance(runtime_config, dict) else None
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    missing = [name for name in names if not variables.get(name)]
    if missing:
        raise ConflictError(
            f"the runtime needs variables that are not set: {shortened(plain(', '.join(missing)), _LONGEST_LIST)}",
            code="required_env_missing",
            hint="save each as a secret of the workspace, or of all: POST /workspaces/{id}/secrets, /settings/secrets",
        )


def effective_config(workspace: Workspace, template_config: bytes | None, origin: Origin) -> dict[str, Any]:
    """The template's config.yaml with the workspace's own name, tier, role and model; without one, a generated one.

    Raises TemplateError when the template's is no mapping, or cannot be read and written again.
    """
    config = _generated(workspace) if template_config is None else parse_config(template_config, origin)
    config |= {"name": workspace.name, "tier": workspace.tier, "runtime": workspace.runtime}
    if workspace.role:
        config["description"] = workspace.role
    if workspace.model:
        config["model"] = workspace.model
    return config


def yaml_of(config: Mapping[str, Any]) -> bytes:
    """A config.yaml."""
    config = dict(config)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if _UNICODE_BREAKS.search(text):  # written as they are, they would be folded like line ends
        text = yaml.safe_dump(config, sort_keys=False)
    return text.encode()


class _Loader(yaml.SafeLoader):
    """Plain values only, and not more than the text suggests: lines that merge each other make billions."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._keys = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge the mappings that ``<<`` names into this one."""
        super().flatten_mapping(node)
        self._keys += len(node.value)
        if self._keys > _MOST_KEYS:
            raise ConstructorError(None, None, f"more than {_MOST_KEYS} keys", node.start_mark)


def parse_config(content: bytes, origin: Origin) -> dict[str, Any]:
    """A config.yaml, parsed. Raises TemplateError ``template_malformed`` in the words of its origin."""
    try:
        config = yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader
        yaml.safe_dump(config)  # what was read need not be possible to write
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none, a bottomless nesting
        raise _malformed(origin, "is not valid YAML") from error
    if not isinstance(config, dict):
        raise _malformed(origin, "is not a mapping")
    return config


def repository_of(workspace: Workspace) -> Origin:
    """The template repository that the workspace's image was built from."""
    at = f" at commit {workspace.image.commit[:12]}" if workspace.image and workspace.image.commit else ""
    return Origin(
        where=f"the template of {workspace.runtime}{at}",
        hint="correct config.yaml in the template's repository and commit it",
    )


def _generated(workspace: Workspace) -> dict[str, Any]:
    model = "sonnet" if workspace.runtime == "claude-code" else "anthropic:claude-opus-4-7"
    config: dict[str, Any] = {
        "name": workspace.name,
        "description": workspace.role or "",
        "version": "1.0.0",
        "tier": workspace.tier,
        "runtime": workspace.runtime,
        "model": model,
    }
    if workspace.runtime not in _NO_TIMEOUT_KEY:
        config["runtime_config"] = {"timeout": 0}
    return config


def _malformed(origin: Origin, what: str) -> TemplateError:
    return TemplateError(f"config.yaml in {origin.where} {what}", code="template_malformed", hint=origin.hint)
