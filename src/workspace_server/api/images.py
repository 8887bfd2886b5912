"""Routes of image builds."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from workspace_server.api import access, forms
from workspace_server.api.access import Caller, services
from workspace_server.api.wire import JsonAnswer

router = APIRouter(prefix="/images", tags=["images"])


@router.get("/builds", summary="List builds")
async def builds(
    request: Request,
    _: Annotated[Caller, Depends(access.people)],
    runtime: Annotated[str | None, Query(description="Builds of this runtime only.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 50,
) -> Response:
    """The builds of this server's cache, newest first, those under way included."""
    found = services(request).builds.newest(runtime=runtime, limit=limit)
    return JsonAnswer([forms.build(record) for record in found])


@router.get("/builds/{build}", summary="Read a build")
async def read(request: Request, build: str, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """One build with its steps."""
    return JsonAnswer(forms.build(services(request).builds.get(build)))


@router.get("/builds/{build}/log", summary="Read a build's log", response_class=FileResponse)
async def log(request: Request, build: str, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """The whole output of the builder so far, from its first byte; `Range` is honoured."""
    book = services(request).builds
    path = book.log_path(book.get(build).id)
    return FileResponse(path, media_type="text/plain; charset=utf-8")
