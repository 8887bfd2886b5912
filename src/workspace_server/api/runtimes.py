"""The route of runtimes."""

from typing import Annotated, assert_never

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from workspace_server.api import access, forms
from workspace_server.api.access import Caller, services
from workspace_server.api.wire import JsonAnswer
from workspace_server.wiring.control_plane import ControlPlaneParts
from workspace_server.wiring.engine import EngineParts

router = APIRouter(tags=["images"])


@router.get("/runtimes", summary="List runtimes")
async def runtimes(request: Request, _: Annotated[Caller, Depends(access.people)]) -> Response:
    """Every runtime: where its images come from, whether one can be provisioned now, and if not, why.

    The engine and the templates' hosts, or the registry, are asked at this moment, all side by side, for half a minute
    at most. `head` is what they have now: a commit, or a digest. A runtime whose newest commit failed to build a while
    ago has that failure as its reason. Where workspaces are machines of a control plane, that decides what they run:
    `image_source` is `control-plane`, and nobody is asked.
    """
    opened = services(request)
    match opened.backend:
        case EngineParts(survey=survey):
            return JsonAnswer([forms.runtime(info) for info in await survey.runtimes()])
        case ControlPlaneParts():
            return JsonAnswer([forms.runtime_of_control_plane(name) for name in opened.runtimes.names])
        case _:
            assert_never(opened.backend)
