"""Records and logs of builds and pulls: one folder a build in the cache, readable by every server that shares it.

``<cache>/builds/<id>/record.json`` is replaced whole at every change of phase, ``<cache>/builds/<id>/log`` grows.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

from ulid import ULID

from workspace_server.concurrency import Changes
from workspace_server.errors import NotFoundError, WorkspaceServerError
from workspace_server.files import CACHE_MARKS, append_private, private_folder, private_place, read_own, write_private
from workspace_server.git.faults import cache_translated
from workspace_server.images.identity import BuildIdentity, PullIdentity
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, BuildWait, Execution

LARGEST_LOG = 64 * 1024 * 1024
_CUT = b"the log ends here: the build writes more than 64 MiB\n"
_LOOKED_AT = 50
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build, past or present, as clients see it; or one pull, of ``image``, which has a digest and no commit."""

    id: str
    runtime: str
    commit: str | None
    build_id: str
    platform: str | None
    reason: str
    builder: str | None = None
    execution: Execution | None = None
    state: BuildState = BuildState.QUEUED
    phase: BuildPhase = BuildPhase.QUEUED
    waits_for: BuildWait | None = None
    steps: tuple[BuildStep, ...] = ()
    waiters: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    image: str | None = None
    digest: str | None = None
    image_id: str | None = None
    error: dict[str, str] | None = None

    @property
    def seconds(self) -> float:
        """How long the build took, or has taken so far."""
        return ((self.finished_at or datetime.now(UTC)) - self.started_at).total_seconds()

    @property
    def step(self) -> BuildStep | None:
        """The step that failed, else the last one that runs, else the last one that ran.

        Of layers, which are pulled side by side, the first one that is not there yet.
        """
        failed = [step for step in self.steps if step.failed]
        running = [step for step in self.steps if not step.ended]
        running = running[:1] if self.phase is BuildPhase.PULL else running[-1:]
        return next(iter([*failed[-1:], *running, *self.steps[-1:]]), None)

    @property
    def where(self) -> str:
        """What the build is at, in words."""
        return f"step {self.step.n} of {self.step.of}, {self.step.name}" if self.step else self.phase.value


class BuildLog:
    """A build's log, open to append to. Unbuffered: whoever follows it hears of every write, and sees it.

    What a template writes without end does not fill the disk: the log says so, and takes no more of it.
    """

    def __init__(self, file: BinaryIO, tell: Callable[[], None]) -> None:
        self._file = file
        self._tell = tell
        self._left = LARGEST_LOG - os.fstat(file.fileno()).st_size

    def write(self, text: bytes) -> None:
        """Append ``text`` of the builder. Raises OSError."""
        if self._left <= 0:
            return
        self._left -= len(text)
        self.say(text if self._left > 0 else _CUT)

    def say(self, text: bytes) -> None:
        """Append ``text`` of the server's own, for which there is always room. Raises OSError."""
        self._file.write(text)
        self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class BuildBook:
    """The builds of one cache. Running builds live in memory, and on disk for everybody else.

    So do ended ones whose end could not be written. Of the builds of this process, by their ids,
    ``changes`` tells when a record changed, and ``growth`` when it changed or its log grew.
    """

    def __init__(self, cache: Path) -> None:
        self.changes: Changes[str | None] = Changes()
        self.growth: Changes[str] = Changes()
        self._folder = cache / "builds"
        self._active: dict[str, BuildRecord] = {}

    def open(self, identity: BuildIdentity, reason: str) -> BuildRecord:
        """Begin a record and its log. Like every change of one, raises UnavailableError when the cache is unusable."""
        return self._open(
            BuildRecord(
                id=str(ULID()),
                runtime=identity.template.runtime,
                commit=identity.commit,
                build_id=identity.build_id,
                platform=identity.platform,
                reason=reason,
            )
        )

    def open_pull(self, identity: PullIdentity, reason: str) -> BuildRecord:
        """Begin a pull's record and its log."""
        return self._open(
            BuildRecord(
                id=str(ULID()),
                runtime=identity.runtime,
                commit=None,
                build_id=identity.build_id,
                platform=identity.platform,
                image=identity.reference,
                reason=reason,
            )
        )

    def _open(self, record: BuildRecord) -> BuildRecord:
        with cache_translated(self._folder):
            private_place(self._folder.parent, CACHE_MARKS)
            private_folder(self._folder)
            (self._folder / record.id).mkdir(mode=0o700)
            append_private(self.log_path(record.id)).close()
        self._save(record)
        return record

    def update(self, record_id: str, **changes: Any) -> BuildRecord:
        """Change a running build's record, and write it."""
        record = replace(self._active[record_id], **changes)
        self._save(record)
        return record

    def count_waiter(self, record_id: str, change: int) -> None:
        """One more or one fewer workspace waits for a build; kept in memory only."""
        record = self._active.get(record_id)
        if record is not None:
            self._active[record_id] = replace(record, waiters=record.waiters + change)

    def note_wait(self, record_id: str, waits_for: BuildWait | None) -> None:
        """A build waits for something, or does not any more; kept in memory only."""
        self._active[record_id] = replace(self._active[record_id], waits_for=waits_for)
        self._note(record_id)

    def note_step(self, record_id: str, step: BuildStep) -> None:
        """A step began or changed; kept in memory until the build's next phase. Without seconds it is measured here."""
        record, now = self._active[record_id], datetime.now(UTC)
        steps = {(known.n, known.name): known for known in record.steps}
        known = steps.get((step.n, step.name), step)
        started_at = known.started_at or now
        seconds = round((now - started_at).total_seconds(), 3) if step.failed and step.seconds is None else step.seconds
        steps[step.n, step.name] = replace(step, started_at=started_at, seconds=seconds)
        self._active[record_id] = replace(record, steps=tuple(steps.values()))
        self._note(record_id)

    def say(self, record_id: str, text: str) -> None:
        """Write a line of the server's own into the log. Raises UnavailableError."""
        with cache_translated(self._folder), self.open_log(record_id) as log:
            log.say(f"{text}\n".encode())

    def close(self, record_id: str, state: BuildState, *, error: WorkspaceServerError | None = None) -> BuildRecord:
        """End a running build's record; it has ended here also when that cannot be written.

        What ended it is the last line of its log.
        """
        record = replace(
            self._active[record_id],
            state=state,
            phase=BuildPhase.DONE,
            waits_for=None,
            waiters=0,
            finished_at=datetime.now(UTC),
            error=error.as_dict() if error else None,
        )
        try:
            if error is not None:
                self.say(record_id, error.message.partition("\n")[0])
        finally:  # the record last: whoever follows the log stops reading then
            self._active[record_id] = record  # where there is no room to write it, nobody waits for its end for ever
            try:
                self._save(record)
                del self._active[record_id]
            finally:
                self._note(record_id)
        return record

    def runs_here(self, record_id: str) -> bool:
        """Whether the build runs in this process, so that its changes are told."""
        return record_id in self._active

    def get(self, record_id: str) -> BuildRecord:
        """One build; raises NotFoundError ``unknown_build``."""
        record = self._active.get(record_id) or self._load(record_id)
        if record is None:
            raise _unknown(record_id)
        return record

    def newest(self, *, runtime: str | None = None, limit: int | None = 50) -> list[BuildRecord]:
        """The newest builds first."""
        found = []
        for record in self._all():
            if runtime in (None, record.runtime):
                found.append(record)
            if len(found) == limit:
                break
        return found

    def has_made(self, build_id: str) -> bool:
        """Whether a build of that id ended with an image, as far as the records tell."""
        made = (BuildState.SUCCEEDED, BuildState.HIT)
        return any(record.build_id == build_id and record.state in made for record in self._all())

    def interrupted(self) -> Iterable[BuildRecord]:
        """Of the newest builds, those that did not end and do not run in this process."""
        newest = self.newest(limit=_LOOKED_AT)
        return [record for record in newest if not record.state.ended and record.id not in self._active]

    def interrupt(self, record: BuildRecord) -> None:
        """Write into the record and the log of a build that its server did not survive it."""
        self._active[record.id] = record
        self.close(
            record.id,
            BuildState.CANCELLED,
            error=WorkspaceServerError(
                "the server stopped during this build",
                code="build_interrupted",
                hint="the layers it made are kept; it is built again when it is wanted",
            ),
        )

    def size(self, record_id: str) -> int:
        """The bytes that a build's record and log take."""
        return sum(path.stat().st_size for path in (self._folder / record_id).iterdir())

    def remove(self, record_id: str) -> None:
        """Forget an ended build."""
        self._active.pop(record_id, None)
        shutil.rmtree(self._folder / record_id, ignore_errors=True)

    def log_path(self, record_id: str) -> Path:
        """Where a build's log is."""
        return self._folder / record_id / "log"

    def readable_log(self, record_id: str) -> Path:
        """The log, to be read. Raises NotFoundError ``unknown_build`` when there is none, or a link in its place."""
        path = self.log_path(self.get(record_id).id)
        if path.is_symlink() or not path.is_file():
            raise _unknown(record_id)
        return path

    def open_log(self, record_id: str) -> BuildLog:
        """A build's log, to append to. Raises UnavailableError."""
        with cache_translated(self._folder):
            return BuildLog(append_private(self.log_path(record_id)), partial(self.growth.note, record_id))

    def _all(self) -> Iterable[BuildRecord]:
        try:
            identities = sorted((entry.name for entry in os.scandir(self._folder)), reverse=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for identity in identities:
            record = self._active.get(identity) or self._load(identity)
            if record is not None:
                yield record

    def _save(self, record: BuildRecord) -> None:
        path = self._folder / record.id / "record.json"
        with cache_translated(self._folder):
            write_private(path, json.dumps(asdict(record), default=_encode))
        self._active[record.id] = record
        self._note(record.id)

    def _note(self, record_id: str) -> None:
        self.changes.note(record_id)
        self.growth.note(record_id)

    def _load(self, record_id: str) -> BuildRecord | None:
        try:
            ULID.from_str(record_id)  # a name from a request is no path until it is an id
            place = self._folder / record_id
            if self._folder.is_symlink() or place.is_symlink():
                return None
            fields = _checked(json.loads(read_own(place / "record.json")), record_id)
            fields |= {
                "state": BuildState(fields["state"]),
                "phase": BuildPhase(fields["phase"]),
                "waits_for": BuildWait(fields["waits_for"]) if fields.get("waits_for") else None,
                "execution": Execution(fields["execution"]) if fields.get("execution") else None,
                "steps": tuple(_step(**step) for step in fields["steps"]),
                "started_at": datetime.fromisoformat(fields["started_at"]),
                "finished_at": _moment(fields["finished_at"]),
            }
            return BuildRecord(**fields)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None  # not a record, or half of one: the build it told of is over


def _checked(fields: dict[str, Any], record_id: str) -> dict[str, Any]:
    """The fields of a record as it was read; raises ValueError for one that could name another build's files."""
    texts = [fields[name] for name in ("runtime", "build_id", "reason")]
    if fields["id"] != record_id or not _SHA256.fullmatch(fields["build_id"]):
        raise ValueError("a record of something else")
    texts += [fields[name] for name in ("commit", "platform", "image", "digest") if fields.get(name) is not None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a record of another form")
    return fields


def _step(*, started_at: str | None = None, **fields: Any) -> BuildStep:
    return BuildStep(started_at=_moment(started_at), **fields)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _unknown(record_id: str) -> NotFoundError:
    return NotFoundError(f"no build {record_id[:40]}", code="unknown_build", hint="GET /images/builds lists them")


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
