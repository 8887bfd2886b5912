"""Composition of what only a server has whose workspaces are machines of a control plane."""

from collections.abc import Callable
from dataclasses import dataclass

from workspace_server.control_plane.machines import ControlPlane
from workspace_server.db import InstanceStore
from workspace_server.wiring.ground import Ground
from workspace_server.wiring.links import ControlPlaneLink
from workspace_server.workspaces.control_plane_backend import ControlPlaneBackend, Pace
from workspace_server.workspaces.lifecycle import Lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneParts:
    """What requests may need of a server whose workspaces are machines of a control plane."""

    control_plane: ControlPlane


class ControlPlaneSide:
    """The control plane's side of a server."""

    machines_elsewhere = True

    def __init__(self, ground: Ground, link: ControlPlaneLink) -> None:
        self._control_plane = link.control_plane
        self.backend = ControlPlaneBackend(
            control_plane=link.control_plane,
            instances=InstanceStore(ground.database),
            workspaces=ground.store,
            tokens=ground.tokens,
            secrets=ground.secrets,
            settings=ground.settings,
            pace=Pace(),
        )

    async def meet(self) -> None:
        """Nothing: it is not called before something is wanted of it."""

    def parts(self, lifecycle: Lifecycle, talks_to: Callable[[str], bool]) -> ControlPlaneParts:
        """What requests may need."""
        return ControlPlaneParts(control_plane=self._control_plane)
