"""Every error code: whose fault it is, and what to do. The one source; ``docs/reference/errors.md`` is printed from it.

A code is one entry here, and using one that has none is a type error. ``python -m workspace_server.error_codes`` prints
the page.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

# Annotated[Literal[code], whose fault or what is wrong, what to do]: type checkers see the code alone.

ImageCode: TypeAlias = (
    Annotated[
        Literal["git_unreachable"],
        "the Git host: DNS, connection, TLS, time-out, 5xx",
        "check the network; or set `MOLECULE_IMAGE_REGISTRY`; or use another `MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX`",
    ]
    | Annotated[
        Literal["template_repo_missing"],
        "the configured URL: no such repository, or a private one",
        "`MOLECULE_TEMPLATE_REPO_<RUNTIME>`, the prefix, or a token",
    ]
    | Annotated[Literal["git_denied"], "the token: the Git host refused it", "check `MOLECULE_GITEA_TOKEN`"]
    | Annotated[
        Literal["git_offline"],
        "the setting `MOLECULE_LOCAL_BUILD_OFFLINE`: nothing was built or fetched that could be used",
        "unset it where the Git host can be reached, and build once",
    ]
    | Annotated[
        Literal["template_ref_missing"],
        "the template: it is empty, or has no such branch, tag or commit",
        "check `MOLECULE_TEMPLATE_REF_<RUNTIME>`",
    ]
    | Annotated[
        Literal["template_malformed"],
        "the template: no Dockerfile, a link out of the tree, too large, or a broken config.yaml",
        "repair and commit",
    ]
    | Annotated[
        Literal["build_failed"],
        "the template: a step of its Dockerfile failed",
        "the message has the step and its last lines; read the log; repair and commit",
    ]
    | Annotated[
        Literal["base_image_unavailable"],
        "the base image's registry; the message repeats its answer",
        "check that this machine reaches it; after a rate limit wait, or `docker login`;"
        " `bin/base-image` makes `python:3.11-slim`",
    ]
    | Annotated[
        Literal["build_stalled"],
        "the template or a slow network: a step was silent, and idle as far as the engine can show",
        "try again; `MOLECULE_LOCAL_BUILD_STALL_SECONDS`",
    ]
    | Annotated[Literal["build_timeout"], "the template or a slow network", "`MOLECULE_LOCAL_BUILD_MAX_SECONDS`"]
    | Annotated[
        Literal["build_cancelled"], "whoever cancelled the build; the message says who", "create the workspace again"
    ]
    | Annotated[
        Literal["commit_moved"],
        "the template moved during the fetch, and its host hands out no older commits",
        "nothing: the newer commit is built; where it moves again and again, `MOLECULE_TEMPLATE_REF_<RUNTIME>`",
    ]
    | Annotated[
        Literal["build_interrupted"],
        "this server: it stopped during the build",
        "nothing: it is built again when it is wanted",
    ]
    | Annotated[
        Literal["platform_unsupported"],
        "the engine: it cannot run that platform's programs",
        "enable emulation, or `MOLECULE_IMAGE_PLATFORM=`",
    ]
    | Annotated[
        Literal["image_platform_mismatch"],
        "the image: it is for another platform",
        "push it for this one, or `MOLECULE_IMAGE_PLATFORM`",
    ]
    | Annotated[
        Literal["unknown_runtime"],
        "the request",
        "use one of the runtimes the hint lists; `MOLECULE_EXTRA_RUNTIMES` adds one",
    ]
    | Annotated[
        Literal["registry_denied"],
        "the registry: it refuses these credentials",
        "check them, and the image's name",
    ]
    | Annotated[
        Literal["image_not_found"],
        "the registry, or whoever removed the image: it is not there",
        "check the prefix; push the image",
    ]
    | Annotated[
        Literal["registry_unreachable"], "the registry: DNS, connection, TLS, time-out, 5xx", "check the network"
    ]
    | Annotated[
        Literal["registry_rate_limited"],
        "the registry: it was asked too often; the message says how long to wait, where the registry does",
        "wait; show credentials",
    ]
    | Annotated[
        Literal["image_corrupted"],
        "the image in the registry: a layer is missing, or not what the image says",
        "push it again",
    ]
    | Annotated[
        Literal["pull_stalled"],
        "the registry or the way to it: no progress for too long",
        "check the network; `MOLECULE_IMAGE_PULL_STALL_SECONDS`",
    ]
    | Annotated[Literal["pull_timeout"], "a slow registry or a large image", "`MOLECULE_IMAGE_PULL_MAX_SECONDS`"]
    | Annotated[
        Literal["pull_cancelled"], "whoever cancelled the pull; the message says who", "create the workspace again"
    ]
    | Annotated[
        Literal["local_image_not_pulled"], "this program: a locally built name would have been pulled", "report it"
    ]
)

AgentCode: TypeAlias = (
    Annotated[
        Literal["agent_exited"],
        "the template or its configuration: the container ended before the agent's first call",
        "the message has its last lines",
    ]
    | Annotated[
        Literal["bootstrap_failed"],
        "the machine: the control plane saw that it did not come up",
        "`last_sample_error` has the end of its log; correct it, then restart the workspace",
    ]
    | Annotated[
        Literal["agent_silent"],
        "the template or the network: the agent never called",
        "does the container reach the server's URL? `PROVISION_TIMEOUT_SECONDS`",
    ]
    | Annotated[
        Literal["gateway_unavailable"],
        "something else listens on this port at the workspace network's gateway",
        "stop it, or choose another `PORT`",
    ]
    | Annotated[
        Literal["crash_loop"],
        "the template or its configuration: the container ended five times within ten minutes",
        "the message has its last lines; correct it, then restart the workspace",
    ]
    | Annotated[
        Literal["config_template_unusable"],
        "the operator's config template: a link out of it, too much in it, or it is gone",
        "correct its folder in `CONFIGS_DIR`, then restart the workspace",
    ]
    | Annotated[
        Literal["required_env_missing"],
        "whoever made the workspace: the runtime needs variables that it has not",
        "save each as a secret of the workspace or of all, then restart it",
    ]
    | Annotated[
        Literal["secret_unreadable"],
        "the operator: secrets were saved with a key that this server has not",
        "give it that key, or save the secrets again; then restart the workspace",
    ]
    | Annotated[
        Literal["waking"],
        "nobody: a message came for a workspace that hibernated, and it is being started",
        "send it again a little later",
    ]
    | Annotated[
        Literal["tier_unavailable"],
        "tier 4 where the engine's machine is another one, and its agents could not be reached",
        "use tier 3, or run the server beside the engine",
    ]
    | Annotated[
        Literal["host_port_taken"],
        "something listens at this machine's port that an agent of tier 4 needs",
        "stop it, or set another `a2a.port` in the workspace's config.yaml",
    ]
    | Annotated[
        Literal["container_name_taken"], "somebody else's container has this workspace's name", "remove that container"
    ]
)

DependencyCode: TypeAlias = (
    Annotated[
        Literal["engine_unavailable"],
        "the container engine does not answer, or went away during a build",
        "start it; wishes wait and go on by themselves",
    ]
    | Annotated[
        Literal["engine_error"], "the container engine answered with an error", "see the engine's own log; try again"
    ]
    | Annotated[Literal["engine_refused"], "the container engine refused a call", "see the engine's own log"]
    | Annotated[
        Literal["no_space"],
        "a full disk: the message says which",
        "`workspace-server images prune`, `docker builder prune`; or move `MOLECULE_LOCAL_BUILD_CACHE`",
    ]
    | Annotated[Literal["cache_unusable"], "the build cache's directory", "check its owner and permissions"]
    | Annotated[Literal["database_unavailable"], "the database", "check the disk and the data directory's permissions"]
    | Annotated[
        Literal["data_directory_unusable"], "the data directory", "check its owner and permissions; `MOLECULE_DATA_DIR`"
    ]
    | Annotated[
        Literal["data_directory_in_use"], "another server in this data directory", "stop it; or `MOLECULE_DATA_DIR`"
    ]
    | Annotated[Literal["tool_missing"], "a missing program: git or docker", "install it; the hint says how"]
    | Annotated[
        Literal["engine_timeout"], "the container engine: it is there, and does not answer", "see to it; wishes wait"
    ]
    | Annotated[
        Literal["deadline_exceeded"], "an operation that took too long; the message names it and its limit", "try again"
    ]
    | Annotated[Literal["agent_unavailable"], "an agent that is asked for something is not there", "see the workspace"]
    | Annotated[Literal["agent_timeout"], "an agent that is asked for something stays silent", "see the workspace"]
    | Annotated[Literal["agent_error"], "an agent: it answered a message with an error", "the container's log"]
    | Annotated[
        Literal["reply_too_large"], "who was asked answered with more than 10 MiB", "make an agent answer in parts"
    ]
    | Annotated[
        Literal["control_plane_unavailable"],
        "the control plane: it does not answer",
        "try again; check `CP_UPSTREAM_URL`, `MOLECULE_CP_URL` or `CP_PROVISION_URL`",
    ]
    | Annotated[
        Literal["tenant_configuration_unavailable"],
        "the control plane gave this server no variables for its workspaces (in the log only)",
        "check `MOLECULE_CP_URL`, `MOLECULE_ORG_ID` and `ADMIN_TOKEN`, then restart the server",
    ]
    | Annotated[
        Literal["control_plane_refused"],
        "the control plane understood the call, and refuses it; the message has its words",
        "see to it there; check `MOLECULE_CP_SHARED_SECRET` and `ADMIN_TOKEN`",
    ]
    | Annotated[
        Literal["instance_unknown"],
        "the control plane was asked for a machine, and its answer was lost",
        "nothing: it is asked again until it says whether there is one, and nothing is started twice",
    ]
    | Annotated[
        Literal["machine_not_ended"],
        "the control plane was asked to end a machine, which still runs",
        "nothing: it is asked again; if that lasts, see to the machine there",
    ]
    | Annotated[
        Literal["server_unavailable"], "no server answers where a command looks for it", "`workspace-server serve`"
    ]
    | Annotated[
        Literal["unexpected_answer"], "what answers a command is no such server", "check `PORT` and what listens there"
    ]
)

RequestCode: TypeAlias = (
    Annotated[Literal["invalid_request"], "its form", "the hint names the field"]
    | Annotated[Literal["invalid_json"], "its body is no JSON object", "send one"]
    | Annotated[Literal["body_too_large"], "its body is larger than the message says", "send less"]
    | Annotated[Literal["invalid_workspace_id"], "the workspace id is no UUID", "`GET /workspaces` has the ids"]
    | Annotated[Literal["workspace_not_found"], "there is no such workspace", "`GET /workspaces` lists them"]
    | Annotated[Literal["ambiguous_workspace"], "a command: several workspaces are called so", "use an id"]
    | Annotated[Literal["no_container"], "the workspace has no container at this moment", "see its `provisioning`"]
    | Annotated[Literal["unknown_workspace"], "an agent calls for a workspace that was removed", "end the agent"]
    | Annotated[Literal["unknown_build"], "there is no such build", "`GET /images/builds` lists them"]
    | Annotated[Literal["build_ended"], "the build has ended, or another server makes it", "nothing"]
    | Annotated[Literal["not_built_here"], "images come from a registry here: nothing is built", "nothing"]
    | Annotated[
        Literal["no_engine_here"],
        "workspaces are machines of the control plane here: this server has no engine, no images, no builds",
        "a machine's output is at `GET /workspaces/{id}/console`",
    ]
    | Annotated[
        Literal["no_control_plane"], "workspaces are containers here: there is no control plane", "see their logs"
    ]
    | Annotated[Literal["no_machine"], "the control plane has no machine of this workspace", "see its `provisioning`"]
    | Annotated[Literal["not_found"], "the container engine has no such object", "try again"]
    | Annotated[Literal["unknown_parent"], "`parent_id` names no workspace", "`GET /workspaces` has the ids"]
    | Annotated[
        Literal["external_agent"], "this agent runs elsewhere: it is not started or stopped here", "see to it there"
    ]
    | Annotated[
        Literal["agent_url_refused"], "no agent may be at this URL; the message says why", "use another address"
    ]
    | Annotated[
        Literal["parent_cycle"], "`parent_id` names a workspace below this one, or itself", "see their `parent_id`"
    ]
    | Annotated[
        Literal["workspace_dir_refused"], "no workspace may have this directory; the hint says why", "use another one"
    ]
    | Annotated[
        Literal["invalid_workspace_access"], "`workspace_access` is none, or has no directory", "the hint lists them"
    ]
    | Annotated[
        Literal["invalid_template"], "there is no such config template", "the hint lists those of `CONFIGS_DIR`"
    ]
    | Annotated[Literal["invalid_tier"], "`tier` is not one that is allowed here", "`MOLECULE_MAX_TIER`"]
    | Annotated[Literal["invalid_secret"], "a secret's name or value cannot be one", "the message says why"]
    | Annotated[Literal["secret_not_found"], "there is no such secret", "`GET …/secrets` lists them"]
    | Annotated[Literal["not_pausable"], "there is no such workspace, or it is paused already", "nothing"]
    | Annotated[Literal["not_paused"], "there is no such workspace, or it is not paused", "nothing"]
    | Annotated[Literal["parent_paused"], "a workspace above it is paused", "resume that one first"]
    | Annotated[Literal["not_hibernatable"], "only what is online or degraded hibernates", "see its status"]
    | Annotated[Literal["active_tasks"], "the agent works", "wait, or repeat with `?force=true`"]
    | Annotated[Literal["not_supported"], "a field that this version does not know", "leave it out"]
    | Annotated[Literal["confirmation_required"], "the workspace has children", "repeat with `?confirm=true`"]
    | Annotated[Literal["conflict"], "it does not fit the present state", "the message says why"]
    | Annotated[Literal["in_use"], "something to be pruned was used meanwhile", "nothing"]
    | Annotated[Literal["unauthenticated"], "who calls is not known", "the hint says what to send"]
    | Annotated[Literal["invalid_token"], "the token is nobody's", "the owner's is `owner_token` in the data directory"]
    | Annotated[Literal["forbidden"], "who calls may not do this", "call as the owner or the administrator"]
    | Annotated[Literal["reserved_caller"], "`X-Workspace-ID` names a caller that nobody may pose as", "leave it out"]
    | Annotated[Literal["not_related"], "these two workspaces may not talk to each other", "see their `parent_id`"]
    | Annotated[Literal["internal"], "nothing: this program has a bug", "the server's log says more; report it"]
)

StartCode: TypeAlias = (
    Annotated[Literal["invalid_setting"], "a variable; the message shows it with its value", "the hint has a right one"]
    | Annotated[Literal["port_in_use"], "something else listens on `PORT`", "stop it, or choose another"]
    | Annotated[Literal["foreign_database"], "the database is another server's", "name an empty one in `DATABASE_URL`"]
    | Annotated[
        Literal["another_engine"], "the engine is not that of the other servers on the database", "`DOCKER_HOST`"
    ]
    | Annotated[
        Literal["another_backend"],
        "the workspaces of this database were started by an engine, or by a control plane, and are still there",
        "`MOLECULE_ORG_ID` as it was; or remove them first",
    ]
    | Annotated[Literal["newer_schema"], "the database is a newer version's", "start that version"]
    | Annotated[Literal["example_not_made"], "`bin/up`: git could not make the example's repository", "see its words"]
    | Annotated[Literal["unexpected_reply"], "`bin/up`: the example's agent answered something else", "see the log"]
    | Annotated[Literal["left_over"], "`bin/up --check`: something it made is still there", "`bin/up --clean`"]
    | Annotated[Literal["interrupted"], "`bin/up --check` was interrupted", "start it again"]
)

ErrorCode: TypeAlias = ImageCode | AgentCode | DependencyCode | RequestCode | StartCode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    title: str
    intro: str = ""
    second_column: str = "whose fault"
    codes: Any

    def lines(self) -> Sequence[str]:
        """The section of the page."""
        intro = [self.intro, ""] if self.intro else []
        head = [f"| code | {self.second_column} | what to do |", "|---|---|---|"]
        return [f"## {self.title}", "", *intro, *head, *map(_row, get_args(self.codes)), ""]


_PAGE = """\
# Errors

Every error is `{"error": what happened, "code": its stable name, "hint": what to do}`, the same in API, log, terminal, and in a failed workspace's
`provisioning` view and `last_sample_error`. Codes are stable; messages may be worded better.

The HTTP status follows from whose fault it is: 400 to 404 and 409 the request's, or the template's; 502 the Git host's or a registry's; 503 something
that this server depends on, with `Retry-After`; 504 an operation that took too long; 500 this program's.

This page is printed by `python -m workspace_server.error_codes`.
"""  # noqa: E501 - lines of the page

_SECTIONS = (
    _Section(
        title="An image cannot be had",
        intro="Never does one of these make the server try another source.",
        codes=ImageCode,
    ),
    _Section(title="The agent does not come up", codes=AgentCode),
    _Section(title="Something the server needs is away", codes=DependencyCode),
    _Section(title="The request", second_column="what is wrong", codes=RequestCode),
    _Section(title="At start, and from `bin/up`", second_column="what is wrong", codes=StartCode),
)


def codes() -> list[str]:
    """Every code, in the page's order."""
    return [_code(entry) for section in _SECTIONS for entry in get_args(section.codes)]


def page() -> str:
    """The documentation of all codes, as Markdown."""
    return "\n".join([_PAGE, *(line for section in _SECTIONS for line in section.lines())])


def _row(entry: Any) -> str:
    _, fault, advice = get_args(entry)
    return f"| `{_code(entry)}` | {fault} | {advice} |"


def _code(entry: Any) -> str:
    (code,) = get_args(get_args(entry)[0])
    return str(code)


if __name__ == "__main__":
    sys.stdout.write(page())
