"""Images built from a Dockerfile, by the best builder of the docker CLI that is here."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workspace_server.concurrency import Deadline
from workspace_server.engine.address import EngineAddress
from workspace_server.engine.emulation import BINFMT_MISC, foreign_execution, is_native, listed_execution, read_handlers
from workspace_server.engine.programs import BuildTool, best, docker_missing, listed_platforms, survey
from workspace_server.engine.progress import Decoder
from workspace_server.engine.progress_classic import ClassicDecoder
from workspace_server.engine.progress_plain import PlainDecoder
from workspace_server.engine.progress_rawjson import RawJsonDecoder
from workspace_server.engine.verdict import Ending, verdict
from workspace_server.errors import UnavailableError
from workspace_server.files import private_folder
from workspace_server.model.build import BuilderKind, BuildFailure, BuildRequest, BuildStep, Execution
from workspace_server.process import run

_PRIVATE = 0o077
_RAWJSON = (0, 13)
_PROVENANCE = (0, 10)
_PATIENCE = 30.0


class ImageBuilder:
    """One of the docker CLI's builders, chosen once. Get one from ``ImageBuilder.choose``."""

    def __init__(
        self, tool: BuildTool, environment: Mapping[str, str], state_dir: Path, *, binfmt_misc: Path | None = None
    ) -> None:
        self._tool = tool
        self._environment = environment
        self._state_dir = state_dir
        self._binfmt_misc = binfmt_misc  # where the engine's kernel shows its emulators, when it is ours

    @classmethod
    async def choose(cls, environment: Mapping[str, str], address: EngineAddress, state_dir: Path) -> "ImageBuilder":
        """The best builder of the docker CLIs on ``environment``'s PATH that can talk to the engine.

        buildx, else a CLI that speaks BuildKit itself, else the classic builder. ``environment`` is all the builder
        will see, besides the engine's address; ``state_dir`` keeps buildx's own files. Raises UnavailableError:
        ``tool_missing`` when there is no usable docker CLI, ``engine_unavailable`` when the engine cannot be asked.
        """
        visible = {**environment, **address.cli_environment, "BUILDX_CONFIG": str(state_dir)}
        found = await survey(visible, address)
        return cls(best(found), visible, state_dir, binfmt_misc=BINFMT_MISC if found.reach.here else None)

    @property
    def kind(self) -> BuilderKind:
        """Which of the three builders this is."""
        return self._tool.kind

    @property
    def description(self) -> str:
        """For people: ``buildx 0.13.1``, ``docker 20.10.24 BuildKit``, ``docker 28.2.2 classic builder``."""
        return self._tool.description

    @property
    def engine_platform(self) -> str:
        """The engine's own platform, ``os/architecture``."""
        return self._tool.engine_platform

    async def execution(self, platform: str) -> Execution:
        """Whether the engine can run the steps of a build for ``platform``. Raises DeadlineError."""
        if is_native(platform, self.engine_platform):
            return Execution.NATIVE
        directory = self._binfmt_misc
        handlers = None if directory is None else await asyncio.to_thread(read_handlers, directory)
        found = foreign_execution(platform, self.engine_platform, handlers=handlers)
        if found is Execution.UNKNOWN:
            listed = await listed_platforms(self._tool, self._environment, Deadline(_PATIENCE))
            found = listed_execution(platform, listed)
        return found

    async def build(
        self,
        request: BuildRequest,
        deadline: Deadline,
        *,
        on_step: Callable[[BuildStep], None],
        on_log: Callable[[bytes], None],
        on_output: Callable[[str | None], None] = lambda _: None,
        pass_fds: Sequence[int] = (),
    ) -> str | BuildFailure:
        """Build and return the image's id, or how it failed. Nothing is tagged.

        ``on_step`` hears of a step when it begins (``seconds`` None) and when it ends; ``on_log`` gets the builder's
        output line by line, without newlines, as people read it. ``on_output`` hears that the builder's client printed
        something, whatever it is, with the container the step runs in where the builder tells (the classic one).
        ``pass_fds`` are inherited by the builder's client.
        Leaving early, for the deadline or by a cancel, ends the client and with it the engine's work. Raises
        DeadlineError, and UnavailableError: ``tool_missing`` when the CLI was removed meanwhile, ``cache_unusable``.
        """
        decoder = self._decoder(on_log, request)

        def feed(line: bytes) -> None:
            for step in decoder.feed(line):
                on_step(step)
            on_output(decoder.container)

        with self._directory() as directory:
            id_file = Path(directory) / "image-id"
            with _missing_named():
                done = await run(
                    command(self._tool, request, id_file),
                    env={**self._environment, **_switch(self.kind)},
                    deadline=deadline,
                    on_line=feed,
                    pass_fds=pass_fds,
                    umask=_PRIVATE,
                )
            image_id = id_file.read_text().strip() if done.ok and id_file.exists() else ""
        for step in decoder.close(ok=done.ok):
            on_step(step)
        return image_id or verdict(decoder, self._ending(done.returncode, request))

    @contextmanager
    def _directory(self) -> Iterator[str]:
        """A directory for one build, below the builder's own. Raises UnavailableError ``cache_unusable``."""
        with ExitStack() as stack:
            try:
                private_folder(self._state_dir)
                made = tempfile.TemporaryDirectory(dir=self._state_dir, prefix="build-")
                directory = stack.enter_context(made)
            except OSError as error:
                raise UnavailableError(
                    f"the builder's folder {self._state_dir} cannot be used: {error.strerror}",
                    code="cache_unusable",
                    hint="give the user of this server a writable folder of its own with MOLECULE_LOCAL_BUILD_CACHE",
                ) from error
            yield directory

    def _decoder(self, on_log: Callable[[bytes], None], request: BuildRequest) -> Decoder:
        match self.kind:
            case BuilderKind.BUILDX if self._tool.version >= _RAWJSON:
                return RawJsonDecoder(on_log)
            case BuilderKind.BUILDX | BuilderKind.BUILDKIT:
                return PlainDecoder(on_log)
            case BuilderKind.CLASSIC:
                return ClassicDecoder(on_log, labels=len(request.labels))

    def _ending(self, returncode: int, request: BuildRequest) -> Ending:
        foreign = request.platform is not None and request.platform != self._tool.engine_platform
        return Ending(returncode=returncode, foreign_platform=foreign)


@contextmanager
def _missing_named() -> Iterator[None]:
    """A program that is missing is docker, whichever path it had."""
    try:
        yield
    except UnavailableError as error:
        if error.code != "tool_missing":
            raise  # of whoever got the output
        raise docker_missing() from error


def command(tool: BuildTool, request: BuildRequest, id_file: Path) -> list[str]:
    """The builder's command line. Labels are all of it that varies; nothing of it is secret."""
    return [
        str(tool.program),
        "build",
        *_builder_options(tool),
        "--iidfile",
        str(id_file),
        *(["--platform", request.platform] if request.platform else []),
        *(["--no-cache"] if request.no_cache else []),
        *(["--pull"] if request.pull else []),
        *(f"--label={name}={value}" for name, value in sorted(request.labels.items())),
        "-f",
        str(request.context / "Dockerfile"),
        str(request.context),
    ]


def _builder_options(tool: BuildTool) -> list[str]:
    match tool.kind:
        case BuilderKind.BUILDX:
            # The engine's own builder, whatever the user made the default; --load for engines that keep results apart.
            form = "rawjson" if tool.version >= _RAWJSON else "plain"
            provenance = ["--provenance=false"] if tool.version >= _PROVENANCE else []
            return ["--builder", "default", "--load", *provenance, f"--progress={form}"]
        case BuilderKind.BUILDKIT:
            return ["--progress=plain"]
        case BuilderKind.CLASSIC:
            return ["--force-rm"]


def _switch(kind: BuilderKind) -> dict[str, str]:
    """What makes ``docker build`` use the builder that was chosen."""
    match kind:
        case BuilderKind.BUILDX:
            return {}
        case BuilderKind.BUILDKIT:
            return {"DOCKER_BUILDKIT": "1"}
        case BuilderKind.CLASSIC:
            return {"DOCKER_BUILDKIT": "0"}
