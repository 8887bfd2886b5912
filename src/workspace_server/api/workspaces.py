"""Routes of workspaces: create, list, read, remove, how far, and messages to their agents."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from workspace_server.agents import WakingError
from workspace_server.api import access, forms
from workspace_server.api.access import Caller, CallerKind, services
from workspace_server.api.connection import connection
from workspace_server.api.path import uuid_of, workspace_of
from workspace_server.api.stream import Follow, ServerSentEvent, event_stream
from workspace_server.api.wire import JsonAnswer, body_schema, json_body, read_body
from workspace_server.api.workspace_bodies import ChangeWorkspace, CreateWorkspace, changes_of, spec_of, wants_external
from workspace_server.errors import AuthError, ForbiddenError
from workspace_server.model.workspace import WorkspaceSpec
from workspace_server.wiring import Services
from workspace_server.workspaces.follow import build_of
from workspace_server.workspaces.follow import follow as follow_provisioning
from workspace_server.workspaces.service import ChildrenError

router = APIRouter(tags=["workspaces"])

_SECONDS = re.compile(r"[0-9]{1,9}")
_RESERVED_CALLERS = ("webhook:", "system:", "test:", "channel:")


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

    With `external` the agent runs elsewhere: at `url`, or, without one, wherever it registers from with the token in
    the answer's `connection`, which is shown this once.

    The image is then pulled or built, the container created and started, and the workspace is `online` with its
    agent's first call. `GET /workspaces/{id}/provisioning` says how far it is; a failure ends in the status `failed`
    with its reason there and in `last_sample_error`.
    """
    opened = services(request)
    spec = await spec_of(body, opened)
    if wants_external(body):
        return await _connected(request, spec, body.url)
    workspace_id = await opened.workspaces.create(spec, secrets=body.secrets)
    return JsonAnswer(
        {
            "id": workspace_id,
            "status": "provisioning",
            "awareness_namespace": f"workspace:{workspace_id}",
            "workspace_access": spec.workspace_access,
        },
        201,
    )


async def _connected(request: Request, spec: WorkspaceSpec, url: str) -> Response:
    """The answer for an agent that runs elsewhere."""
    opened = services(request)
    made = await opened.workspaces.connect(spec, opened.outbound.check(url) if url else "")
    answer = {"id": made.id, "external": True, "status": made.status}
    if made.token is not None:
        answer["connection"] = connection(request, made.id, made.token, spec.name)
    return JsonAnswer(answer, 201)


@router.get("/workspaces", summary="List workspaces")
async def list_present(request: Request, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """All workspaces that were not removed, oldest first."""
    return JsonAnswer([forms.listed_workspace(workspace) for workspace in await services(request).workspaces.present()])


@router.get("/workspaces/{workspace_id}", summary="Read a workspace")
async def read(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.known)]) -> Response:
    """The public form of one workspace; removed ones are shown as `removed`."""
    return JsonAnswer(forms.public_workspace(await workspace_of(request, workspace_id)))


@router.patch(
    "/workspaces/{workspace_id}",
    summary="Change a workspace",
    openapi_extra=body_schema(ChangeWorkspace, required=True),
)
async def change(
    request: Request,
    workspace_id: str,
    body: Annotated[ChangeWorkspace, Depends(json_body(ChangeWorkspace, "invalid request body"))],
    caller: Annotated[Caller, Depends(access.own_reads)],
) -> Response:
    """Changes the fields that are given. What a container was made with changes at its next restart.

    Then the answer has `"needs_restart":true`. A workspace itself may change its name, its role and where it is drawn.
    """
    opened = services(request)
    changes = await changes_of(body, opened, by_person=caller.is_person)
    needs_restart = await opened.workspaces.change(uuid_of(workspace_id), changes)
    return JsonAnswer({"status": "updated"} | ({"needs_restart": True} if needs_restart else {}))


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
        return event_stream(request, _followed(opened, workspace.id))
    return JsonAnswer(forms.provisioning(workspace, build_of(workspace, opened.builds), opened.phases))


async def _followed(opened: Services, workspace_id: str) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(follow_provisioning(opened.store, opened.builds, workspace_id)) as news:
        async for workspace, build in news:
            yield ServerSentEvent(event="provisioning", data=forms.provisioning(workspace, build, opened.phases))


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
