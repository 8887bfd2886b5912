"""Routes of secrets: of one workspace, and of all. Values go in; only the workspace itself gets them out."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, StrictStr
from starlette.responses import Response

from workspace_server.api import access
from workspace_server.api.access import Caller, services
from workspace_server.api.path import workspace_of
from workspace_server.api.wire import JsonAnswer, body_schema, json_body
from workspace_server.model.secret import SecretInfo

router = APIRouter(tags=["secrets"])


class SaveSecret(BaseModel):
    """A secret to save."""

    key: StrictStr = Field(min_length=1, description="The variable's name.", examples=["ANTHROPIC_API_KEY"])
    value: StrictStr = Field(min_length=1, description="Its value; it is never shown again.")


_body, _schema = json_body(SaveSecret, "invalid request body"), body_schema(SaveSecret)


@router.get("/workspaces/{workspace_id}/secrets", summary="List a workspace's secrets")
async def list_own(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.own_reads)]) -> Response:
    """Its own, and those of all workspaces that it does not replace; never their values."""
    workspace = await workspace_of(request, workspace_id)
    return JsonAnswer([_form(secret) for secret in await services(request).secrets.infos(workspace.id)])


@router.post("/workspaces/{workspace_id}/secrets", summary="Save a workspace's secret", openapi_extra=_schema)
@router.put("/workspaces/{workspace_id}/secrets", summary="Save a workspace's secret", openapi_extra=_schema)
async def save_own(
    request: Request,
    workspace_id: str,
    body: Annotated[SaveSecret, Depends(_body)],
    _: Annotated[Caller, Depends(access.own_reads)],
) -> Response:
    """Its container is started again to be told of it, with the image it has."""
    workspace, opened = await workspace_of(request, workspace_id), services(request)
    await opened.secrets.put(workspace.id, body.key, body.value)
    await opened.lifecycle.restart_with_secrets([workspace.id])
    return JsonAnswer({"status": "saved", "key": body.key})


@router.delete("/workspaces/{workspace_id}/secrets/{key}", summary="Remove a workspace's secret")
async def remove_own(
    request: Request, workspace_id: str, key: str, _: Annotated[Caller, Depends(access.own_reads)]
) -> Response:
    """Its container is started again without it, with the image it has."""
    workspace, opened = await workspace_of(request, workspace_id), services(request)
    await opened.secrets.delete(workspace.id, key)
    await opened.lifecycle.restart_with_secrets([workspace.id])
    return JsonAnswer({"status": "deleted", "key": key})


@router.get("/workspaces/{workspace_id}/secrets/values", summary="Read a workspace's secrets")
async def values(request: Request, workspace_id: str, _: Annotated[Caller, Depends(access.itself)]) -> Response:
    """The values of its own and of all workspaces' secrets, for the agent that shows its workspace's token."""
    return JsonAnswer(await services(request).secrets.environment(workspace_id))


@router.get("/settings/secrets", summary="List the secrets of all workspaces")
@router.get("/admin/secrets", include_in_schema=False)
async def list_global(request: Request, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """The secrets that every workspace has unless it replaces them; never their values."""
    return JsonAnswer([_form(secret) for secret in await services(request).secrets.infos(None)])


@router.post("/settings/secrets", summary="Save a secret of all workspaces", openapi_extra=_schema)
@router.put("/settings/secrets", summary="Save a secret of all workspaces", openapi_extra=_schema)
@router.post("/admin/secrets", include_in_schema=False)
async def save_global(
    request: Request, body: Annotated[SaveSecret, Depends(_body)], _: Annotated[Caller, Depends(access.people)]
) -> Response:
    """The containers of workspaces that do not replace it are started again to be told of it, a few at a time."""
    opened = services(request)
    await opened.secrets.put(None, body.key, body.value)
    await opened.lifecycle.restart_with_secrets(await opened.secrets.told_of(body.key))
    return JsonAnswer({"status": "saved", "key": body.key, "scope": "global"})


@router.delete("/settings/secrets/{key}", summary="Remove a secret of all workspaces")
@router.delete("/admin/secrets/{key}", include_in_schema=False)
async def remove_global(request: Request, key: str, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """The containers of workspaces that did not replace it are started again without it, a few at a time."""
    opened = services(request)
    await opened.secrets.delete(None, key)
    await opened.lifecycle.restart_with_secrets(await opened.secrets.told_of(key))
    return JsonAnswer({"status": "deleted", "key": key, "scope": "global"})


def _form(secret: SecretInfo) -> Mapping[str, Any]:
    return {
        "key": secret.key,
        "has_value": True,
        "scope": "global" if secret.is_global else "workspace",
        "created_at": secret.created_at,
        "updated_at": secret.updated_at,
    }
