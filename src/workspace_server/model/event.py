"""An event: something that happened to a workspace, in the words that clients listen for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4


class EventType(StrEnum):
    """The names of events on the wire."""

    PROVISIONING = "WORKSPACE_PROVISIONING"
    ONLINE = "WORKSPACE_ONLINE"
    AWAITING_AGENT = "WORKSPACE_AWAITING_AGENT"
    OFFLINE = "WORKSPACE_OFFLINE"
    DEGRADED = "WORKSPACE_DEGRADED"
    PAUSED = "WORKSPACE_PAUSED"
    HIBERNATED = "WORKSPACE_HIBERNATED"
    PROVISION_FAILED = "WORKSPACE_PROVISION_FAILED"
    REMOVED = "WORKSPACE_REMOVED"
    AGENT_CARD_UPDATED = "AGENT_CARD_UPDATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. ``payload`` is JSON and holds nothing secret."""

    type: EventType
    workspace_id: str
    payload: Mapping[str, Any]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: str(uuid4()))
