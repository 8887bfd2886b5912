"""Agents: how they report themselves, who may talk to whom, and messages to them."""

from workspace_server.agents.access import may_communicate
from workspace_server.agents.outbound import Outbound, open_outside_client
from workspace_server.agents.proxy import AgentProxy, Reply, WakingError, open_agents_client
from workspace_server.agents.registry import AgentRegistry, Heartbeat

__all__ = [
    "AgentProxy",
    "AgentRegistry",
    "Heartbeat",
    "Outbound",
    "Reply",
    "WakingError",
    "may_communicate",
    "open_agents_client",
    "open_outside_client",
]
