"""Build records and build logs: one folder a build in the cache, readable by every server that shares it.

``<cache>/builds/<id>/record.json`` is replaced whole at every change of phase, ``<cache>/builds/<id>/log`` grows.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ulid import ULID

from workspace_server.errors import NotFoundError, WorkspaceServerError
from workspace_server.files import write_private
from workspace_server.git.faults import cache_translated
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, Execution

_LOOKED_AT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build, past or present, as clients see it."""

    id: str
    runtime: str
    commit: str
    build_id: str
    platform: str
    reason: str
    builder: str | None = None
    execution: Execution | None = None
    state: BuildState = BuildState.QUEUED
    phase: BuildPhase = BuildPhase.QUEUED
    steps: tuple[BuildStep, ...] = ()
    waiters: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    image_id: str | None = None
    error: dict[str, str] | None = None

    @property
    def seconds(self) -> float:
        """How long the build took, or has taken so far."""
        return ((self.finished_at or datetime.now(UTC)) - self.started_at).total_seconds()

    @property
    def step(self) -> BuildStep | None:
        """The step that is running, or was the last to run."""
        return self.steps[-1] if self.steps else None

    @property
    def where(self) -> str:
        """What the build is at, in words."""
        return f"step {self.step.n} of {self.step.of}, {self.step.name}" if self.step else self.phase.value


class BuildBook:
    """The builds of one cache. Running builds live in memory, and on disk for everybody else.

    So do ended ones whose end could not be written.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "builds"
        self._active: dict[str, BuildRecord] = {}

    def open(self, identity: BuildIdentity, reason: str) -> BuildRecord:
        """Begin a record and its log. Like every change of one, raises UnavailableError when the cache is unusable."""
        record = BuildRecord(
            id=str(ULID()),
            runtime=identity.template.runtime,
            commit=identity.commit,
            build_id=identity.build_id,
            platform=identity.platform,
            reason=reason,
        )
        with cache_translated(self._folder):
            self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.mkdir(exist_ok=True, mode=0o700)
            (self._folder / record.id).mkdir(mode=0o700)
            self.log_path(record.id).touch(mode=0o600)
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

    def note_step(self, record_id: str, step: BuildStep) -> None:
        """A step began or changed; kept in memory until the build's next phase."""
        record = self._active[record_id]
        steps = {(known.n, known.name): known for known in record.steps} | {(step.n, step.name): step}
        self._active[record_id] = replace(record, steps=tuple(steps.values()))

    def say(self, record_id: str, text: str) -> None:
        """Write a line of the server's own into the log. Raises UnavailableError."""
        with cache_translated(self._folder), self.open_log(record_id) as log:
            log.write(f"{text}\n".encode())

    def close(self, record_id: str, state: BuildState, *, error: WorkspaceServerError | None = None) -> BuildRecord:
        """End a running build's record; it has ended here also when that cannot be written.

        What ended it is the last line of its log.
        """
        record = replace(
            self._active[record_id],
            state=state,
            phase=BuildPhase.DONE,
            waiters=0,
            finished_at=datetime.now(UTC),
            error=error.as_dict() if error else None,
        )
        try:
            if error is not None:
                self.say(record_id, error.message.partition("\n")[0])
        finally:  # the record last: whoever follows the log stops reading then
            self._active[record_id] = record  # where there is no room to write it, nobody waits for its end for ever
            self._save(record)
            del self._active[record_id]
        return record

    def get(self, record_id: str) -> BuildRecord:
        """One build; raises NotFoundError ``unknown_build``."""
        record = self._active.get(record_id) or self._load(record_id)
        if record is None:
            raise NotFoundError(
                f"no build {record_id[:40]}", code="unknown_build", hint="GET /images/builds lists them"
            )
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

    def open_log(self, record_id: str) -> BinaryIO:
        """The log, to append to; unbuffered, so that whoever follows it sees every line."""
        return self.log_path(record_id).open("ab", buffering=0)

    def _all(self) -> Iterable[BuildRecord]:
        try:
            identities = sorted((entry.name for entry in os.scandir(self._folder)), reverse=True)
        except FileNotFoundError:
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

    def _load(self, record_id: str) -> BuildRecord | None:
        try:
            ULID.from_str(record_id)  # a name from a request is no path until it is an id
            fields = json.loads((self._folder / record_id / "record.json").read_bytes())
            fields |= {
                "state": BuildState(fields["state"]),
                "phase": BuildPhase(fields["phase"]),
                "execution": Execution(fields["execution"]) if fields.get("execution") else None,
                "steps": tuple(BuildStep(**step) for step in fields["steps"]),
                "started_at": datetime.fromisoformat(fields["started_at"]),
                "finished_at": fields["finished_at"] and datetime.fromisoformat(fields["finished_at"]),
            }
            return BuildRecord(**fields)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None  # not a record, or half of one: the build it told of is over


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
