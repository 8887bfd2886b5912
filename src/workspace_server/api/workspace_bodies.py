"""What the bodies of requests about workspaces may say, and what it means."""

import asyncio
import re
from typing import Any, assert_never

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from workspace_server.api.wire import Number, Whole
from workspace_server.errors import ForbiddenError, InvalidRequestError
from workspace_server.images import LocalBuildSource
from workspace_server.model.workspace import EXTERNAL, WorkspaceAccess, WorkspaceSpec
from workspace_server.wiring import Services
from workspace_server.wiring.control_plane import ControlPlaneParts
from workspace_server.wiring.engine import EngineParts
from workspace_server.workspaces.directories import check_access
from workspace_server.workspaces.templates import ConfigTemplate, unknown_template

_NOT_YET = ("initial_memories",)
_NOTHING: tuple[Any, ...] = (None, "", False, "none", {}, [])
_FORBIDDEN_CHARACTERS = frozenset("{}[]|>*&!")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\n-\x1f\x7f]")  # all but the tab: no engine takes a NUL
_LONGEST = {"name": 255, "role": 1000, "model": 100, "runtime": 100}
_OF_PEOPLE = frozenset({"tier", "parent_id", "runtime", "workspace_dir"})
"""What a workspace may not change of itself: it would give itself more than it was given."""


class Canvas(BaseModel):
    """Where a workspace is drawn."""

    x: Number = 0.0
    y: Number = 0.0


class CreateWorkspace(BaseModel):
    """A workspace to create."""

    model_config = ConfigDict(extra="ignore")

    name: StrictStr = Field(description="What people call it; at most 255 bytes.", examples=["my first agent"])
    runtime: StrictStr = Field("", description="Kind of agent; default langgraph.", examples=["echo"])
    role: StrictStr = Field("", description="What it is for; at most 1000 bytes.", examples=["answers questions"])
    model: StrictStr = Field("", description="Language model, when the runtime has one.", examples=["sonnet"])
    tier: Whole = Field(0, description="1 sandboxed, 2 standard, 3 privileged, 4 full host; 0: the default.")
    parent_id: StrictStr | None = Field(None, description="Workspace above it.")
    budget_limit: Whole | None = Field(None, description="US cents a month.")
    max_concurrent_tasks: Whole = Field(1, description="Tasks its agent may work on at once.")
    canvas: Canvas = Field(default_factory=Canvas, description="Where it is drawn.")
    template: StrictStr = Field(
        "", description="Config template: says the runtime and model, too, unless they are given."
    )
    external: StrictBool = Field(default=False, description="Its agent runs elsewhere; so does runtime `external`.")
    url: StrictStr = Field("", description="Where that agent listens; without one it is waited for.")
    workspace_dir: StrictStr = Field(
        "", description="Directory of this machine to be its /workspace.", examples=["/home/me/project"]
    )
    workspace_access: StrictStr = Field(
        "", description="What it may do there: none, read_only or read_write; default read_write."
    )
    secrets: dict[StrictStr, StrictStr] = Field(
        default_factory=dict, description="Variables of its container, kept sealed.", examples=[{"API_KEY": "…"}]
    )
    initial_memories: Any = Field(None, description="Not supported yet.")


class ChangeWorkspace(BaseModel):
    """What of a workspace is to change; what is absent stays."""

    model_config = ConfigDict(extra="ignore")

    name: StrictStr = Field("", description="What people call it.", examples=["another name"])
    role: StrictStr = Field("", description="What it is for.", examples=["reads every change"])
    runtime: StrictStr = Field("", description="Kind of agent, from the next restart on.")
    tier: Whole = Field(0, description="1 to 4, from the next restart on.")
    parent_id: Any = Field(None, description="Workspace above it; null: none.")
    workspace_dir: Any = Field(None, description="Directory of this machine to be its /workspace; null: none.")
    x: Number = Field(0.0, description="Where it is drawn, with y.")
    y: Number = Field(0.0, description="Where it is drawn, with x.")
    collapsed: StrictBool = Field(default=False, description="Whether those below it are hidden.")


async def spec_of(body: CreateWorkspace, opened: Services) -> WorkspaceSpec:
    """The workspace that is asked for. Raises InvalidRequestError for what cannot be."""
    for field in _NOT_YET:
        if getattr(body, field) not in _NOTHING:
            raise InvalidRequestError(
                f"{field} is not supported by this version", code="not_supported", hint=f"leave {field} out"
            )
    if body.url and not wants_external(body):
        raise InvalidRequestError("invalid workspace fields", hint="url is of an external agent: say external, too")
    for field in _LONGEST:
        if complaint := _complaint(field, getattr(body, field)):
            raise InvalidRequestError("invalid workspace fields", hint=complaint)
    if not body.name.strip():
        raise InvalidRequestError("invalid workspace payload", hint="name is required")
    access = check_access(body.workspace_access, has_directory=bool(body.workspace_dir))
    template = await asyncio.to_thread(_template, body.template, opened)
    return WorkspaceSpec(
        name=body.name,
        runtime=_runtime(body, template, opened),
        tier=_tier(body.tier, opened),
        role=body.role or None,
        model=body.model or (template.model if template else None),
        config_template=template.folder if template and template.folder else None,
        parent_id=body.parent_id,
        budget_limit=body.budget_limit,
        max_concurrent_tasks=max(1, body.max_concurrent_tasks),
        workspace_dir=await _directory(body.workspace_dir, opened),
        workspace_access=access,
        x=body.canvas.x,
        y=body.canvas.y,
    )


def wants_external(body: CreateWorkspace) -> bool:
    """Whether the agent that is asked for runs elsewhere."""
    return body.external or body.runtime == EXTERNAL


def _runtime(body: CreateWorkspace, template: ConfigTemplate | None, opened: Services) -> str:
    if wants_external(body):
        return EXTERNAL
    return opened.runtimes.check(body.runtime or (template.runtime if template else None))


def _template(wanted: str, opened: Services) -> ConfigTemplate | None:
    """The config template that is asked for; where there is none, a runtime of that name means the runtime's own."""
    if not wanted:
        return None
    runtime = wanted.removesuffix("-default")
    found = opened.templates.find(wanted)
    if found is None and runtime in opened.runtimes.names:
        return opened.templates.of_runtime(runtime) or ConfigTemplate(folder="", name=None, runtime=runtime, model=None)
    if found is None:
        raise unknown_template(wanted, opened.templates.folders())
    return found


async def changes_of(body: ChangeWorkspace, opened: Services, *, by_person: bool) -> dict[str, Any]:
    """The columns that are to change. Raises InvalidRequestError for what cannot be, ForbiddenError for an agent's."""
    given = body.model_dump(exclude_unset=True)
    if not by_person and (beyond := sorted(_OF_PEOPLE & given.keys())):
        raise ForbiddenError(f"a workspace may not change its own {', '.join(beyond)}")
    given |= _text_changes(given, opened)
    if "tier" in given:
        _check_tier(body.tier, opened)
    if "parent_id" in given and not isinstance(body.parent_id, str | None):
        raise InvalidRequestError("invalid request body", hint="parent_id: an id, or null")
    if "workspace_dir" in given:
        given |= await _directory_changes(body.workspace_dir, opened)
    if not {"x", "y"} <= given.keys():
        given = {field: value for field, value in given.items() if field not in ("x", "y")}
    return given


def _text_changes(given: dict[str, Any], opened: Services) -> dict[str, Any]:
    for field in _LONGEST.keys() & given.keys():
        if complaint := _complaint(field, given[field]):
            raise InvalidRequestError(complaint)
    if "name" in given and not given["name"].strip():
        raise InvalidRequestError("name must not be empty")
    role = {"role": given["role"] or None} if "role" in given else {}
    return role | ({"runtime": opened.runtimes.check(given["runtime"])} if "runtime" in given else {})


async def _directory_changes(wanted: Any, opened: Services) -> dict[str, Any]:
    if not isinstance(wanted, str | None):
        raise InvalidRequestError("invalid workspace directory", code="workspace_dir_refused", hint="a path, or null")
    directory = await _directory(wanted or "", opened)
    access = WorkspaceAccess.READ_WRITE if directory else WorkspaceAccess.NONE
    return {"workspace_dir": directory, "workspace_access": access}


async def _directory(wanted: str, opened: Services) -> str | None:
    """The directory with its links resolved, None for none. The disk is asked in a thread: it may be a slow one."""
    if not wanted:
        return None
    match opened.backend:
        case EngineParts():
            return str(await asyncio.to_thread(opened.directories.check, wanted))
        case ControlPlaneParts():
            raise InvalidRequestError(
                "a workspace may not have a directory of this machine: it is a machine itself, somewhere else",
                code="workspace_dir_refused",
                hint="leave workspace_dir out",
            )
        case _:
            assert_never(opened.backend)


def _complaint(field: str, text: str) -> str | None:
    """What is wrong with a text, if anything."""
    if _CONTROL_CHARACTERS.search(text):
        return f"{field} must not contain newline characters"
    if field in ("name", "role") and _FORBIDDEN_CHARACTERS & set(text):
        return f"{field} contains invalid characters"
    if len(text.encode()) > _LONGEST[field]:
        return f"{field} must be at most {_LONGEST[field]} characters"
    return None


def _tier(asked: int, opened: Services) -> int:
    """The tier of a new workspace; without one it is 3, as ever, and 2 in a local build."""
    match opened.backend:
        case EngineParts(images=images) if isinstance(images.source, LocalBuildSource):
            default = 2
        case EngineParts() | ControlPlaneParts():
            default = 3
        case _:
            assert_never(opened.backend)
    tier = asked or min(default, _highest_tier(opened))
    _check_tier(tier, opened)
    return tier


def _highest_tier(opened: Services) -> int:
    """What this machine allows; of machines elsewhere, the control plane decides."""
    match opened.backend:
        case EngineParts():
            return opened.settings.max_tier or 4
        case ControlPlaneParts():
            return 4
        case _:
            assert_never(opened.backend)


def _check_tier(tier: int, opened: Services) -> None:
    highest = _highest_tier(opened)
    if not 1 <= tier <= highest:
        raise InvalidRequestError(f"tier must be from 1 to {highest}", code="invalid_tier")
