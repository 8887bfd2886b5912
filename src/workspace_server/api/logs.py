"""The route of what a workspace's container writes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import PlainTextResponse, Response

from workspace_server.api import access
from workspace_server.api.access import Caller, services
from workspace_server.api.path import workspace_of
from workspace_server.api.stream import Follow, ServerSentEvent, event_stream
from workspace_server.errors import WorkspaceServerError
from workspace_server.workspaces.logs import MOST_LINES, LogEnd

router = APIRouter(tags=["workspaces"])


@router.get("/workspaces/{workspace_id}/logs", summary="Read a container's log", response_class=PlainTextResponse)
async def logs(
    request: Request,
    workspace_id: str,
    _: Annotated[Caller, Depends(access.own_reads)],
    tail: Annotated[int, Query(ge=0, le=MOST_LINES, description="So many of its last lines.")] = 200,
    follow: Follow = False,  # noqa: FBT002 - a query parameter
) -> Response:
    """The last lines that the workspace's container wrote to stdout and stderr, at most the last MiB of them.

    With `follow=1`, server-sent events: a `line` with its `text` for each of these and for each further one as it is
    written, and `end` with the container's `exit_code` when it ended, or `error` with an error object when the engine
    went away. Every 15 s of silence bring a comment. 404 `no_container` while there is none.
    """
    found = services(request).on_engine.logs
    container = await found.container(await workspace_of(request, workspace_id))
    if follow:
        return event_stream(request, _events(found.follow(container, tail)))
    return PlainTextResponse(await found.tail(container, tail))


async def _events(written: AsyncGenerator[str | LogEnd, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(written):
        try:
            async for item in written:
                yield _event(item)
        except WorkspaceServerError as error:  # too late for a status
            yield ServerSentEvent(event="error", data=error.as_dict())


def _event(item: str | LogEnd) -> ServerSentEvent:
    if isinstance(item, LogEnd):
        return ServerSentEvent(event="end", data={"exit_code": item.exit_code})
    return ServerSentEvent(event="line", data={"text": item})
