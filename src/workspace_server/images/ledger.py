"""The images that builds of this cache made: which build each is of, when it was made, when it was last used.

Labels can be forged, and an image built ``FROM`` one of ours inherits them. An image's id cannot: it is the hash of
all that it holds. So an image is believed to be a build's when it is written down here, by the build itself.

``<cache>/images/<id>`` is one small file an image, shared by every server on the cache; its time is the last use.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from workspace_server.files import private_folder, read_own, write_private

log = structlog.get_logger(__name__)

_ASIDE = ".taken"
_BUILD_ID = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeImage:
    """What is written down of an image."""

    build_id: str
    made_at: datetime
    used_at: datetime


class ImageLedger:
    """What the builds of one cache made."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "images"

    def note_made(self, image_id: str, build_id: str) -> None:
        """A build made the image now, whether or not that can be written down: then the next look-up builds again."""
        made = {"build_id": build_id, "made_at": datetime.now(UTC).isoformat()}
        try:
            private_folder(self._folder)
            write_private(self._file(image_id), json.dumps(made))
        except OSError as error:
            log.warning("an image that was built could not be noted", image=image_id, error=error.strerror)

    def touch(self, image_id: str) -> bool:
        """The image is used now; False when it is none of this cache, or none any more because it is being removed."""
        try:
            os.utime(self._file(image_id))
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("the use of an image could not be noted", image=image_id, error=error.strerror)
        return True

    def find(self, image_id: str) -> MadeImage | None:
        """What is known of an image; None when no build of this cache made it."""
        path = self._file(image_id)
        try:
            if self._folder.is_symlink():
                return None
            fields = json.loads(read_own(path))
            if not _BUILD_ID.fullmatch(fields["build_id"]):  # it names a lock's file
                return None
            return MadeImage(
                build_id=fields["build_id"],
                made_at=datetime.fromisoformat(fields["made_at"]),
                used_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None  # unknown, or half a line of a disk that was full: then it is built again

    def has_made(self, image_id: str, build_id: str) -> bool:
        """Whether a build of that id made the image."""
        made = self.find(image_id)
        return made is not None and made.build_id == build_id

    def take(self, made: MadeImage, image_id: str) -> bool:
        """Take the image out, so that it can be removed; False when it was used since ``made`` was found.

        Whoever uses it from now on is told by ``touch`` that it is gone; whoever was faster has changed its time.
        """
        aside = self._aside(image_id)
        try:
            self._file(image_id).rename(aside)
        except FileNotFoundError:
            return False
        if datetime.fromtimestamp(aside.stat().st_mtime, UTC) == made.used_at:
            return True
        self.put_back(image_id)
        return False

    def put_back(self, image_id: str) -> None:
        """An image that was taken out stays after all."""
        with suppress(FileNotFoundError):
            self._aside(image_id).rename(self._file(image_id))

    def put_all_back(self) -> None:
        """After somebody died between taking and removing. Only for who alone may take."""
        for aside in self._folder.glob(f"*{_ASIDE}"):
            self.put_back(aside.name.removesuffix(_ASIDE))

    def forget(self, image_id: str) -> None:
        """An image that was taken out is gone."""
        self._aside(image_id).unlink(missing_ok=True)

    def _file(self, image_id: str) -> Path:
        return self._folder / image_id.removeprefix("sha256:")

    def _aside(self, image_id: str) -> Path:
        return self._file(image_id).with_suffix(_ASIDE)
