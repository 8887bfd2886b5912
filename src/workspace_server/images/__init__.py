"""Where the image of a runtime comes from: a registry, or a local build of the runtime's template.

``ImageService.ensure`` is the one door: a runtime's name goes in, the id of an image on the engine comes out.
"""

from workspace_server.images.records import BuildBook, BuildRecord
from workspace_server.images.service import EnsuredImage, ImageService
from workspace_server.images.source import ImageSource, LocalBuildSource, RegistrySource, image_source

__all__ = [
    "BuildBook",
    "BuildRecord",
    "EnsuredImage",
    "ImageService",
    "ImageSource",
    "LocalBuildSource",
    "RegistrySource",
    "image_source",
]
