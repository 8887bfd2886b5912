"""When an image was last used, shared by every server on one cache: the time of an empty file named like its id."""

from datetime import UTC, datetime
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class Usage:
    """Last uses of images."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "used"

    def touch(self, image_id: str) -> None:
        """The image is used now, whether or not that can be written down."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file(image_id).touch(mode=0o600)
        except OSError as error:
            log.warning("the use of an image could not be noted", image=image_id, error=error.strerror)

    def last(self, image_id: str) -> datetime | None:
        """When the image was last used; None when nobody knows."""
        try:
            return datetime.fromtimestamp(self._file(image_id).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def forget(self, image_id: str) -> None:
        """The image is gone."""
        self._file(image_id).unlink(missing_ok=True)

    def _file(self, image_id: str) -> Path:
        return self._folder / image_id.removeprefix("sha256:")
