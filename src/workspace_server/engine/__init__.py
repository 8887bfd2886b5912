"""The container engine: the only user of its API and of the docker CLI.

``resolve_address`` finds it, ``open_engine`` opens the API, ``ImageBuilder`` builds images with the CLI. Foreign
exceptions end here: callers see ``workspace_server.errors`` only.
"""

from workspace_server.engine.activity import Effort, Efforts
from workspace_server.engine.address import EngineAddress, resolve_address
from workspace_server.engine.builder import ImageBuilder
from workspace_server.engine.client import Engine, open_engine
from workspace_server.engine.credentials import Credentials, RegistryAccess
from workspace_server.engine.events import EngineEvent, EventAction
from workspace_server.engine.images import PublishedImage, PullProgress
from workspace_server.engine.volumes import VolumeInfo

__all__ = [
    "Credentials",
    "Effort",
    "Efforts",
    "Engine",
    "EngineAddress",
    "EngineEvent",
    "EventAction",
    "ImageBuilder",
    "PublishedImage",
    "PullProgress",
    "RegistryAccess",
    "VolumeInfo",
    "open_engine",
    "resolve_address",
]
