"""Routes that agents call about themselves."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, StrictStr
from starlette.responses import Response

from workspace_server.agents import Heartbeat
from workspace_server.api.access import Caller, CallerKind, identify, services
from workspace_server.api.wire import JsonAnswer, Number, Whole, body_schema, json_body
from workspace_server.errors import AuthError

router = APIRouter(prefix="/registry", tags=["agents"])


class Register(BaseModel):
    """An agent that is ready."""

    id: StrictStr = Field(min_length=1, description="Its workspace.")
    url: StrictStr = Field(min_length=1, description="Where it listens, as it sees itself.")
    agent_card: Any = Field(description="Its A2A agent card; may be null.")


class Beat(BaseModel):
    """An agent that is alive."""

    workspace_id: StrictStr = Field(min_length=1, description="Its workspace.")
    error_rate: Number = Field(0.0, description="Share of failed tasks, 0 to 1; 0.5 and more is `degraded`.")
    sample_error: StrictStr = Field("", description="Its last error.")
    active_tasks: Whole = Field(0, description="Tasks it works on.")
    uptime_seconds: Whole = Field(0, description="Seconds since it started.")
    current_task: StrictStr = Field("", description="What it works on.")
    monthly_spend: Whole = Field(0, description="US cents this month; 0 says nothing.")
    runtime_state: StrictStr = Field("", description="`wedged` when it cannot work any more.")


@router.post("/register", summary="An agent is ready", openapi_extra=body_schema(Register))
async def register(
    request: Request, body: Annotated[Register, Depends(json_body(Register, "invalid request body"))]
) -> Response:
    """Brings the workspace online. Needs the workspace's own token once it has one; else the answer holds a new one."""
    await _own(request, body.id, first_call=True)
    token = await services(request).registry.register(body.id, body.agent_card, body.url)
    return JsonAnswer({"status": "registered"} | ({"auth_token": token} if token else {}))


@router.post("/heartbeat", summary="An agent is alive", openapi_extra=body_schema(Beat))
async def heartbeat(
    request: Request, body: Annotated[Beat, Depends(json_body(Beat, "invalid request body"))]
) -> Response:
    """Keeps the workspace online, or brings it back; sent every 30 seconds."""
    await _own(request, body.workspace_id)
    beat = Heartbeat(**body.model_dump(exclude={"workspace_id"}))
    await services(request).registry.heartbeat(body.workspace_id, beat)
    return JsonAnswer({"status": "ok"})


async def _own(request: Request, workspace_id: str, *, first_call: bool = False) -> None:
    """Let in the workspace itself, by its token; without any token of its own, people and its container's address.

    A machine elsewhere that has no token yet may make its ``first_call``, whoever it is by then.
    """
    caller: Caller = await identify(request)
    if caller.workspace_id == workspace_id and caller.kind is CallerKind.WORKSPACE:
        return
    if caller.kind is CallerKind.WORKSPACE:
        raise AuthError("invalid workspace auth token", code="invalid_token")
    if await services(request).tokens.has_live(workspace_id):
        raise AuthError("missing workspace auth token", hint="send Authorization: Bearer <content of .auth_token>")
    if first_call and await services(request).registry.awaits_first_call(workspace_id):
        return
    if not (caller.is_person or caller.workspace_id == workspace_id):
        raise AuthError("missing workspace auth token")
