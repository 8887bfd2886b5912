"""Listening: on loopback for people, on the workspace network's bridge for agents, one application behind both."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn

from workspace_server.api.edge import Application, from_the_gateway
from workspace_server.app import create_app
from workspace_server.concurrency import TaskScope, first_of
from workspace_server.errors import SettingsError, UnavailableError
from workspace_server.model.container import NetworkInfo
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring import Services, open_services
from workspace_server.wiring.engine import EngineParts

log = structlog.get_logger(__name__)

_DRAIN_SECONDS = 10
_BACKLOG = 2048


async def serve(settings: Settings) -> None:
    """Run the server until SIGINT or SIGTERM. Raises SettingsError when it cannot listen."""
    with stop_signal() as arrived:  # before anything is open: whoever ends a start has it cleaned up as well
        await first_of(_run(settings), arrived.wait())


async def _run(settings: Settings) -> None:
    """Listen until it is cancelled."""
    async with listening(settings):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            log.info("stopping")


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[Services]:
    """Open the services and accept connections until the block is left. Raises SettingsError when it cannot listen."""
    check_exposure(settings)
    with bound(settings) as sockets:
        async with open_services(settings) as services, TaskScope() as scope:
            app = create_app(services)
            gateway = GatewayListener(app, settings.port, scope)
            if isinstance(services.backend, EngineParts) and not _everywhere(sockets):
                try:
                    await services.backend.bridge.follow(gateway.open_on)
                except UnavailableError as error:  # workspaces will fail with these words; the server itself can run
                    log.error(error.message, hint=error.hint)  # noqa: TRY400 - the words say it all
            main = _Listener(app)
            scope.start(main.serve(sockets), name="listener")
            try:
                await main.accepts()
            except OSError as error:
                raise _port_in_use(settings.port, sockets[0].getsockname()[0], error) from error
            log.info(
                "listening",
                addresses=[_shown(sock) for sock in sockets],
                image_source=services.image_source,
                data=str(settings.data_dir),
                docs=f"http://{_shown(sockets[0])}/docs",
            )
            try:
                yield services
            finally:
                app.state.stopping.set()
                await gateway.close()
                await main.stop()


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """Set when SIGINT or SIGTERM arrives; inside the block neither ends the process."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, arrived.set)
    try:
        yield arrived
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def check_exposure(settings: Settings) -> None:
    """Refuse to listen where strangers could pose as the owner. Raises SettingsError."""
    if settings.admin_token is not None:
        return
    if runs_in_container():
        raise SettingsError(
            "this server runs in a container, where loopback does not mean its owner; ADMIN_TOKEN is not set",
            hint="set ADMIN_TOKEN to a long random string",
        )
    if settings.bind is not None and not _is_loopback(settings.bind):
        raise SettingsError(
            f"MOLECULE_BIND='{settings.bind}' reaches beyond this machine, and ADMIN_TOKEN is not set",
            hint="set ADMIN_TOKEN to a long random string, or MOLECULE_BIND=127.0.0.1",
        )


@contextmanager
def bound(settings: Settings) -> Iterator[list[socket.socket]]:
    """The sockets of the main listener, bound but not listening. Raises SettingsError ``port_in_use``."""
    default = ["0.0.0.0"] if settings.admin_token is not None else ["127.0.0.1", "::1"]  # noqa: S104 - decided above
    hosts = [settings.bind] if settings.bind else default
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sockets.append(_bind(host, settings.port))
            except OSError as error:
                if host == "::1":
                    continue  # a machine without IPv6
                raise _port_in_use(settings.port, host, error) from error
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


class GatewayListener:
    """The listener for containers, bound to the workspace network's device and its gateway's address.

    Bound to the device, it can be reached from that network alone: not from the LAN, not from other networks of the
    engine. This machine reaches it as well, and is nobody there.
    """

    def __init__(self, app: Application, port: int, scope: TaskScope) -> None:
        self._app = from_the_gateway(app)
        self._port = port
        self._scope = scope
        self._listener: _Listener | None = None

    async def open_on(self, network: NetworkInfo) -> None:
        """Listen on ``network`` instead of the one before; returns when connections are accepted.

        Raises UnavailableError ``gateway_unavailable``.
        """
        await self.close()
        listener = _Listener(self._app)
        try:
            with _closed_on_error(_bind(network.gateway, self._port, device=network.device)) as sock:
                self._scope.start(listener.serve([sock]), name="gateway listener")
                await listener.accepts()
        except OSError as error:
            raise UnavailableError(
                f"agents cannot reach this server: cannot listen on {network.gateway}:{self._port}: {error.strerror}",
                code="gateway_unavailable",
                hint="stop what listens there, or start this server with another PORT",
            ) from error
        self._listener = listener
        log.info("listening for agents", device=network.device, address=f"{network.gateway}:{self._port}")

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None


class _Listener(uvicorn.Server):
    """A uvicorn server that leaves signals alone, and says when it is ready and when it has ended."""

    def __init__(self, app: Application) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        super().__init__(config)
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: OSError | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has one place for signals, and this is not it."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self._ready.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections until ``stop``."""
        try:
            await super().serve(sockets)
        except OSError as error:
            self._failure = error
        finally:
            self._ended.set()

    async def accepts(self) -> None:
        """Return when connections are accepted. Raises OSError: somebody may listen on what both had bound."""
        await first_of(self._ready.wait(), self._ended.wait())
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Stop accepting, let requests end, and return when that is done."""
        self.should_exit = True
        await self._ended.wait()


@contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[socket.socket]:
    try:
        yield sock
    except OSError:
        sock.close()
        raise


def _bind(host: str, port: int, *, device: str | None = None) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    with _closed_on_error(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind((host, port))
        sock.set_inheritable(False)
    return sock


def _everywhere(sockets: list[socket.socket]) -> bool:
    """Whether containers come in on these as well, so that there is no room for a listener of their own."""
    return any(sock.getsockname()[0] in ("0.0.0.0", "::") for sock in sockets)  # noqa: S104 - compared


def _port_in_use(port: int, host: str, error: OSError) -> SettingsError:
    return SettingsError(
        f"PORT={port}: cannot listen on {host}: {error.strerror}",
        code="port_in_use",
        hint=f"stop what listens there, or choose another, for example PORT={port + 1}",
    )


def _shown(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
