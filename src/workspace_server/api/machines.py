"""Routes of a control plane's machines: what one wrote, and that one did not come up."""

from typing import Annotated, assert_never

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, StrictStr
from starlette.responses import Response

from workspace_server.api import access
from workspace_server.api.access import Caller, services
from workspace_server.api.path import uuid_of, workspace_of
from workspace_server.api.wire import JsonAnswer, body_schema, json_body
from workspace_server.errors import ConflictError, UnavailableError
from workspace_server.wiring.control_plane import ControlPlaneParts
from workspace_server.wiring.engine import EngineParts

router = APIRouter(tags=["workspaces"])


class BootstrapFailed(BaseModel):
    """A machine that did not come up."""

    error: StrictStr = Field("", description="Why, in a sentence.")
    log_tail: StrictStr = Field("", description="The end of its log; the last 8192 bytes are kept.")


@router.get("/workspaces/{workspace_id}/console", summary="Read a machine's console")
async def console(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """What the workspace's machine wrote, as the control plane has it: `output`. 501 where workspaces are containers.

    502 when the control plane does not say; 404 `no_machine` when there is none.
    """
    opened = services(request)
    workspace = await workspace_of(request, workspace_id)
    match opened.backend:
        case ControlPlaneParts(control_plane=control_plane):
            try:
                return JsonAnswer({"output": await control_plane.console(workspace.id)})
            except UnavailableError as error:  # not this server's own dependency: what it answers is somebody else's
                return JsonAnswer(error.as_dict(), 502)
        case EngineParts():
            none = ConflictError(
                "console output unavailable on this deployment (no control plane)",
                code="no_control_plane",
                hint=f"GET /workspaces/{workspace.id}/logs",
            )
            return JsonAnswer(none.as_dict(), 501)
        case _:
            assert_never(opened.backend)


@router.post(
    "/admin/workspaces/{workspace_id}/bootstrap-failed",
    summary="A machine did not come up",
    openapi_extra=body_schema(BootstrapFailed),
)
async def bootstrap_failed(
    request: Request,
    workspace_id: str,
    body: Annotated[BootstrapFailed, Depends(json_body(BootstrapFailed, "invalid request body"))],
    _: Annotated[Caller, Depends(access.people)],
) -> Response:
    """Fails the provisioning of a workspace that still waits for its machine's first call, and ends the machine.

    `"no_change":true` where it does not wait, or there is no such workspace.
    """
    failed = await services(request).bootstraps.fail(uuid_of(workspace_id), body.error, body.log_tail)
    return JsonAnswer({"ok": True} | ({} if failed else {"no_change": True}))
