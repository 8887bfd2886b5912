"""Routes that restart workspaces, let them rest, and wake them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, StrictBool, StrictStr
from starlette.responses import Response

from workspace_server.api import access
from workspace_server.api.access import Caller, services
from workspace_server.api.path import uuid_of
from workspace_server.api.wire import JsonAnswer, body_schema, json_body
from workspace_server.workspaces.lifecycle import RestartWish, TasksError

router = APIRouter(prefix="/workspaces/{workspace_id}", tags=["workspaces"])


class Restart(BaseModel):
    """What a restart may change."""

    template: StrictStr = Field("", description="Write the configuration anew, from this config template.")
    apply_template: StrictBool = Field(
        default=False, description="… from the config template of the workspace's name, or else of its runtime."
    )
    rebuild_config: StrictBool = Field(
        default=False, description="… from its organization's, or as a new workspace would get it."
    )
    reset: StrictBool = Field(default=False, description="Forget the agent's session.")


_restart = json_body(Restart, "invalid request body", optional=True)


@router.post("/restart", summary="Restart a workspace", openapi_extra=body_schema(Restart, required=False))
async def restart(
    request: Request,
    workspace_id: str,
    body: Annotated[Restart, Depends(_restart)],
    _: Annotated[Caller, Depends(access.own_reads)],
    reset: Annotated[str, Query(description="`true`: like `reset` of the body.")] = "",
) -> Response:
    """Provisions it again, with the newest image and its secrets of now; its files stay.

    The container that runs is replaced when the image is there. A build that failed a while ago is tried again.
    `config_dir` is the config template that is applied, or `existing-volume`: what was edited there stays.
    """
    wish = RestartWish(
        template=body.template,
        apply_template=body.apply_template,
        rebuild_config=body.rebuild_config,
        reset_session=body.reset or reset == "true",
    )
    applied = await services(request).lifecycle.restart(uuid_of(workspace_id), wish)
    return JsonAnswer(
        {
            "status": "provisioning",
            "config_dir": applied or "existing-volume",
            "reset_session": wish.reset_session,
        }
    )


@router.post("/pause", summary="Pause a workspace")
async def pause(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.own_reads)]) -> Response:
    """Stops it and all below it. Their files stay; `resume` goes on."""
    count = await services(request).lifecycle.pause(uuid_of(workspace_id))
    return JsonAnswer({"status": "paused", "paused_count": count})


@router.post("/resume", summary="Resume a workspace")
async def resume(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.own_reads)]) -> Response:
    """Starts it and all paused ones below it, with the images they had."""
    count = await services(request).lifecycle.resume(uuid_of(workspace_id))
    return JsonAnswer({"status": "provisioning", "resumed_count": count})


@router.post("/hibernate", summary="Let a workspace hibernate")
async def hibernate(
    request: Request,
    workspace_id: str,
    _: Annotated[Caller, Depends(access.own_reads)],
    force: Annotated[str, Query(description="`true`: although it has tasks.")] = "",
) -> Response:
    """Stops it until a message comes for it, which wakes it. 409 while its agent works."""
    try:
        await services(request).lifecycle.hibernate(uuid_of(workspace_id), force=force == "true")
    except TasksError as error:
        return JsonAnswer({**error.as_dict(), "active_tasks": error.active_tasks}, 409)
    return JsonAnswer({"status": "hibernated"})
