"""The route that refreshes images and moves workspaces to them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from workspace_server.api import access, forms
from workspace_server.api.access import Caller, services
from workspace_server.api.wire import JsonAnswer
from workspace_server.errors import InvalidRequestError
from workspace_server.workspaces.rollout import InterruptedRefreshError

router = APIRouter(prefix="/admin/workspace-images", tags=["images"])


@router.post("/refresh", summary="Refresh images")
async def refresh(
    request: Request,
    _: Annotated[Caller, Depends(access.people)],
    runtime: Annotated[str, Query(description="Of this runtime only.")] = "",
    recreate: Annotated[str, Query(description="`true`: move the workspaces that run an older image.")] = "true",
    force: Annotated[str, Query(description="`true`: also those that are busy or being provisioned.")] = "",
) -> Response:
    """Gets the newest images, and moves the workspaces that run an older one; it answers when the images are there.

    With a registry every runtime's image is pulled; else those are built whose template moved, of the runtimes that are
    used. What fails is in `failed`, with its reason in `errors`, and stops nothing else. A workspace that is busy or
    being provisioned is in `left`, and keeps its image until the next refresh.
    """
    opened = services(request)
    try:
        done = await opened.on_engine.rollout.refresh(
            runtime or None, recreate=recreate == "true", force=force == "true"
        )
    except InvalidRequestError as error:
        return JsonAnswer({**error.as_dict(), "known_runtimes": opened.runtimes.names}, error.status)
    except InterruptedRefreshError as error:
        return JsonAnswer({**error.as_dict(), "partial_result": forms.refreshed(error.done)}, error.status)
    return JsonAnswer(forms.refreshed(done))
