"""Routes of image builds."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, assert_never

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import BaseModel, Field, StrictBool, StrictStr
from starlette.responses import PlainTextResponse, Response

from workspace_server.api import access, forms
from workspace_server.api.access import Caller, CallerKind, services
from workspace_server.api.growing import growing_text
from workspace_server.api.stream import Follow, ServerSentEvent, event_stream
from workspace_server.api.wire import JsonAnswer, body_schema, json_body
from workspace_server.errors import InvalidRequestError
from workspace_server.images import LocalBuildSource, RegistrySource
from workspace_server.images.build import BuildWish
from workspace_server.images.follow import BuildEnd, LogLine, News, StepChange
from workspace_server.images.follow import follow as follow_build
from workspace_server.model.container import ImageInfo

router = APIRouter(prefix="/images", tags=["images"])


@router.get("", summary="List images")
async def images(request: Request, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """The images that were built on this engine, newest first, with the workspaces that use them."""
    return JsonAnswer([forms.image(found) for found in await services(request).on_engine.survey.images()])


@router.get("/explain", summary="Explain a look-up")
async def explain(
    request: Request,
    _: Annotated[Caller, Depends(access.people)],
    runtime: Annotated[str, Query(description="The runtime.")],
) -> Response:
    """Whether the next workspace of a runtime finds its image, and if not, why. Asks the Git host, changes nothing."""
    opened = services(request)
    engine, name = opened.on_engine, opened.runtimes.check(runtime)
    match engine.images.source:
        case LocalBuildSource():
            return JsonAnswer(forms.explanation(await engine.survey.explain(name, engine.images.source)))
        case RegistrySource():
            raise InvalidRequestError("images come from a registry here: nothing is built", code="not_built_here")
        case _:
            assert_never(engine.images.source)


@router.get("/builds", summary="List builds")
async def builds(
    request: Request,
    _: Annotated[Caller, Depends(access.people)],
    runtime: Annotated[str, Query(description="Builds of this runtime only.")] = "",
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many.")] = 50,
) -> Response:
    """The builds of this server's cache, newest first, those under way included."""
    found = services(request).on_engine.builds.newest(runtime=runtime or None, limit=limit)
    return JsonAnswer([forms.build(record) for record in found])


class Prune(BaseModel):
    """A clean-up."""

    dry_run: StrictBool = Field(default=False, description="Only say what would go.")


@router.post("/prune", summary="Clean up", openapi_extra=body_schema(Prune))
async def prune(
    request: Request,
    body: Annotated[Prune, Depends(json_body(Prune, "invalid prune request"))],
    _: Annotated[Caller, Depends(access.people)],
) -> Response:
    """Removes local images, checkouts and logs beyond the budget, least recently used first; never what is in use."""
    return JsonAnswer(forms.pruned(await services(request).on_engine.pruner.prune(dry_run=body.dry_run)))


class StartBuild(BaseModel):
    """A build ahead of need."""

    runtime: StrictStr = Field(min_length=1, description="The runtime.", examples=["hermes"])
    force: StrictBool = Field(default=False, description="Build although the image is there, or its last build failed.")
    no_cache: StrictBool = Field(default=False, description="Use no cached layer.")
    pull: StrictBool = Field(default=False, description="Look base images up anew at their registries.")


@router.post("/builds", status_code=202, summary="Start a build", openapi_extra=body_schema(StartBuild))
async def start(
    request: Request,
    body: Annotated[StartBuild, Depends(json_body(StartBuild, "invalid build request"))],
    _: Annotated[Caller, Depends(access.people)],
) -> Response:
    """Builds the newest commit of a runtime's template ahead of need.

    202 with the build, which may be an equal one under way; 200 with `"state":"hit"` when the image is there. With
    `force` it is built in any case; `no_cache` and `pull` count for a build that this request begins.
    """
    opened = services(request)
    wish = BuildWish(force=body.force, no_cache=body.no_cache, pull=body.pull)
    found = await opened.on_engine.images.begin_build(opened.runtimes.check(body.runtime), wish)
    if isinstance(found, ImageInfo):
        return JsonAnswer(forms.build_hit(body.runtime, found))
    return JsonAnswer(forms.build(opened.on_engine.builds.get(found)), 202)


@router.delete("/builds/{build}", summary="Cancel a build")
async def cancel(request: Request, build: str, caller: Annotated[Caller, Depends(access.people)]) -> Response:
    """Ends a build that is under way, with everything that waits for it; 409 when it has ended."""
    who = "the administrator" if caller.kind is CallerKind.ADMIN else "the owner"
    await services(request).on_engine.images.cancel_build(build, who)
    return JsonAnswer({"status": "cancelled"})


@router.get("/builds/{build}", summary="Read a build")
async def read(request: Request, build: str, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """One build with its steps."""
    return JsonAnswer(forms.build(services(request).on_engine.builds.get(build)))


@router.get("/builds/{build}/log", summary="Read a build's log", response_class=PlainTextResponse)
async def log(
    request: Request,
    build: str,
    _: Annotated[Caller, Depends(access.people)],
    follow: Follow = False,  # noqa: FBT002 - a query parameter
    last_event_id: Annotated[int, Header(ge=0, lt=2**63, description="Go on after this byte.")] = 0,
) -> Response:
    """The whole output of the builder so far, from its first byte; a `Range` of bytes is honoured.

    With `follow=1`, server-sent events: `line` for each line, `step` when the build is at another step, `end` at last.
    An event's id is the byte of the log after it; `Last-Event-ID` resumes there. Every 15 s of silence bring a comment.
    """
    book = services(request).on_engine.builds
    path = book.readable_log(build)
    if not follow:
        return growing_text(path, request.headers)
    if last_event_id > (size := path.stat().st_size):
        raise InvalidRequestError(f"Last-Event-ID {last_event_id} is beyond the end of the log, byte {size}")
    return event_stream(request, _events(follow_build(book, build, last_event_id)))


async def _events(news: AsyncGenerator[News, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(news):
        async for item in news:
            yield _event(item)


def _event(item: News) -> ServerSentEvent:
    match item:
        case LogLine():
            return ServerSentEvent(id=item.offset, event="line", data={"text": item.text})
        case StepChange():
            return ServerSentEvent(id=item.offset, event="step", data=forms.build(item.record, with_steps=False))
        case BuildEnd():
            return ServerSentEvent(id=item.offset, event="end", data=forms.build(item.record))
        case _:
            assert_never(item)
