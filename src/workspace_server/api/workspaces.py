"""Routes of workspaces: create, list, read, remove, how far, and messages to their agents."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, assert_never

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from workspace_server.agents import WakingError
from workspace_server.api import access, forms
from workspace_server.api.access import Caller, CallerKind, services
from workspace_server.api.path import uuid_of, workspace_of
from workspace_server.api.stream import Follow, ServerSentEvent, event_stream
from workspace_server.api.wire import JsonAnswer, Number, Whole, body_schema, json_body, read_body
from workspace_server.errors import AuthError, ForbiddenError, InvalidRequestError
from workspace_server.images import LocalBuildSource, RegistrySource
from workspace_server.model.workspace import WorkspaceSpec
from workspace_server.wiring import Services
from workspace_server.workspaces.follow import Progress, build_of
from workspace_server.workspaces.follow import follow as follow_provisioning
from workspace_server.workspaces.service import ChildrenError

router = APIRouter(tags=["workspaces"])

_NOT_YET = ("template", "external", "url", "workspace_dir", "workspace_access", "initial_memories")
_NOTHING: tuple[Any, ...] = (None, "", False, "none", {}, [])
_FORBIDDEN_CHARACTERS = frozenset("{}[]|>*&!")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\n-\x1f\x7f]")  # all but the tab: no engine takes a NUL
_SECONDS = re.compile(r"[0-9]{1,9}")
_RESERVED_CALLERS = ("webhook:", "system:", "test:", "channel:")


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
    template: Any = Field(None, description="Not supported yet.")
    external: Any = Field(None, description="Not supported yet.")
    url: Any = Field(None, description="Not supported yet.")
    workspace_dir: Any = Field(None, description="Not supported yet.")
    workspace_access: Any = Field(None, description="Not supported yet.")
    secrets: dict[StrictStr, StrictStr] = Field(
        default_factory=dict, description="Variables of its container, kept sealed.", examples=[{"API_KEY": "…"}]
    )
    initial_memories: Any = Field(None, description="Not supported yet.")


@router.post(
    "/workspaces",
    status_code=201,
    summary="Create a workspace",
    openapi_extra=body_schema(CreateWorkspace),
    response_description="The workspace's id; it is being provisioned.",
)
async def create(
    request: Request,
    body: Annotated[CreateWorkspace, Depends(json_body(CreateWorkspace, "invalid workspace payload"))],
    _: Annotated[Caller, Depends(access.people)],
) -> Response:
    """Records the wish and answers at once.

    The image is then pulled or built, the container created and started, and the workspace is `online` with its
    agent's first call. `GET /workspaces/{id}/provisioning` says how far it is; a failure ends in the status `failed`
    with its reason there and in `last_sample_error`.
    """
    opened = services(request)
    workspace_id = await opened.workspaces.create(_spec(body, opened), secrets=body.secrets)
    return JsonAnswer(
        {
            "id": workspace_id,
            "status": "provisioning",
            "awareness_namespace": f"workspace:{workspace_id}",
            "workspace_access": "none",
        },
        201,
    )


@router.get("/workspaces", summary="List workspaces")
async def list_present(request: Request, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """All workspaces that were not removed, oldest first."""
    return JsonAnswer([forms.listed_workspace(workspace) for workspace in await services(request).workspaces.present()])


@router.get("/workspaces/{workspace_id}", summary="Read a workspace")
async def read(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.known)]) -> Response:
    """The public form of one workspace; removed ones are shown as `removed`."""
    return JsonAnswer(forms.public_workspace(await workspace_of(request, workspace_id)))


@router.delete("/workspaces/{workspace_id}", summary="Remove a workspace")
async def remove(
    request: Request,
    workspace_id: str,
    _: Annotated[Caller, Depends(access.people)],
    confirm: Annotated[str, Query(description="`true`: remove its children, too.")] = "",
    purge: Annotated[str, Query(description="`true`: remove its files and its record, too.")] = "",
) -> Response:
    """Removes the workspace's container, its configuration and, with `purge=true`, its `/workspace` files.

    A workspace with children is removed only with `confirm=true`; without it the answer is 409 and lists them.
    """
    identity = uuid_of(workspace_id)
    try:
        removal = await services(request).workspaces.remove(
            identity, confirmed=confirm == "true", purge=purge == "true"
        )
    except ChildrenError as error:
        return JsonAnswer(
            {
                "status": "confirmation_required",
                "message": error.message,
                "children": [{"id": child.id, "name": child.name} for child in error.children],
                "children_count": len(error.children),
            },
            409,
        )
    status = "purged" if removal.purged else "removed"
    return JsonAnswer({"status": status, "cascade_deleted": removal.cascade_deleted})


@router.get("/workspaces/{workspace_id}/provisioning", summary="How far a workspace is")
async def provisioning(
    request: Request,
    workspace_id: str,
    _: Annotated[Caller, Depends(access.own_reads)],
    follow: Follow = False,  # noqa: FBT002 - a query parameter
) -> Response:
    """The phases of the present provisioning, the build that it waits for, and the error it ended with.

    With `follow=1`, server-sent events: a `provisioning` with the same object at once and at every change, until the
    workspace is not being provisioned any more. Every 15 s of silence bring a comment.
    """
    opened = services(request)
    workspace = await workspace_of(request, workspace_id)
    if follow:
        return event_stream(request, _events(follow_provisioning(opened.store, opened.builds, workspace.id)))
    return JsonAnswer(forms.provisioning(workspace, build_of(workspace, opened.builds)))


async def _events(news: AsyncGenerator[Progress, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(news):
        async for workspace, build in news:
            yield ServerSentEvent(event="provisioning", data=forms.provisioning(workspace, build))


@router.post("/workspaces/{workspace_id}/a2a", summary="Send a message to an agent")
async def message(
    request: Request,
    workspace_id: str,
    x_workspace_id: Annotated[str | None, Header(description="The calling workspace; absent: a person.")] = None,
    x_timeout: Annotated[str | None, Header(description="Seconds to wait for the answer.")] = None,
) -> Response:
    """Relays an A2A JSON-RPC message (`message/send`) to the workspace's agent and its answer back, byte for byte.

    A workspace that hibernates is woken: 503 with `"waking":true` and `Retry-After`.
    `jsonrpc`, `id` and `params.message.messageId` are filled in when they are missing.
    """
    caller_id = await _sender(request, x_workspace_id)
    try:
        reply = await services(request).proxy.send(
            workspace_id, await read_body(request), caller_id=caller_id, seconds=_seconds(x_timeout)
        )
    except WakingError as error:
        answer = JsonAnswer({**error.as_dict(), "waking": True, "retry_after": error.retry_after}, error.status)
        answer.headers["retry-after"] = str(error.retry_after)
        return answer
    return Response(reply.body, reply.status, media_type="application/json")


async def _sender(request: Request, claimed: str | None) -> str | None:
    """The workspace that sends, None for a person. Raises AuthError or ForbiddenError."""
    if claimed and claimed.startswith(_RESERVED_CALLERS):
        raise ForbiddenError("invalid caller ID", code="reserved_caller")
    caller = await access.identify(request)
    if caller.kind is CallerKind.ANYONE:
        raise AuthError("authentication is required", hint="send the workspace's token")
    if caller.is_person:
        return claimed
    if claimed not in (None, caller.workspace_id):
        raise ForbiddenError("the token belongs to another workspace than X-Workspace-ID names")
    return caller.workspace_id


def _seconds(header: str | None) -> float | None:
    return float(header) if header and _SECONDS.fullmatch(header) and int(header) > 0 else None


def _spec(body: CreateWorkspace, opened: Services) -> WorkspaceSpec:
    for field in _NOT_YET:
        if getattr(body, field) not in _NOTHING:
            raise InvalidRequestError(
                f"{field} is not supported by this version", code="not_supported", hint=f"leave {field} out"
            )
    for text, limit in ((body.name, 255), (body.role, 1000), (body.model, 100), (body.runtime, 100)):
        if len(text.encode()) > limit or _CONTROL_CHARACTERS.search(text):
            hint = "a text is too long, or has line breaks or control characters"
            raise InvalidRequestError("invalid workspace fields", hint=hint)
    if not body.name.strip():
        raise InvalidRequestError("invalid workspace payload", hint="name is required")
    if _FORBIDDEN_CHARACTERS & set(body.name + body.role):
        raise InvalidRequestError("invalid workspace fields", hint="name and role may not contain {}[]|>*&!")
    return WorkspaceSpec(
        name=body.name,
        runtime=opened.runtimes.check(body.runtime),
        tier=_tier(body.tier, opened),
        role=body.role or None,
        model=body.model or None,
        parent_id=body.parent_id,
        budget_limit=body.budget_limit,
        max_concurrent_tasks=max(1, body.max_concurrent_tasks),
        x=body.canvas.x,
        y=body.canvas.y,
    )


def _tier(asked: int, opened: Services) -> int:
    """The tier of a new workspace; without one it is 3 with a registry, as ever, and 2 in a local build."""
    match opened.images.source:
        case RegistrySource():
            default = 3
        case LocalBuildSource():
            default = 2
        case _:
            assert_never(opened.images.source)
    highest = opened.settings.max_tier or 4
    tier = asked or min(default, highest)
    if not 1 <= tier <= highest:
        raise InvalidRequestError(f"tier must be from 1 to {highest}", code="invalid_tier")
    return tier
