"""Start the agent, and stop it on SIGTERM: `python3 -m echo_adapter`."""

import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from . import agent
from .endpoint import Endpoint
from .presence import Presence
from .settings import SettingsError, read_settings
from .work import Work

log = logging.getLogger(__package__)

GRACE_SECONDS = 0.3
"""For messages being answered when the stop comes. The server kills what is still there a few seconds later."""


class OneLine(logging.Formatter):
    """One event, one line: whatever a message contains, nobody can fake a second entry with it."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break in it."""
        text = super().format(record).replace("\n", " | ")
        return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "?", text)


def main() -> int:
    """Run until SIGTERM or SIGINT. Return 0 then, 1 after an unforeseen error, 2 for a wrong setting."""
    _log_to_stdout()
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        log.critical("%s", error)
        return 2

    # Process 1 gets no default signal handling: without a handler SIGTERM would do nothing at all. The queue is safe
    # to use in a handler; most other things are not.
    endings: SimpleQueue[str] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: endings.put(signal.Signals(number).name))

    work = Work()
    stop = Event()
    try:
        endpoint = Endpoint(settings=settings, skills=agent.SKILLS, answer=agent.answer, work=work)
    except OSError as error:
        log.critical("cannot listen on port %d (%s); ECHO_PORT chooses another", settings.port, error.strerror)
        return 2
    log.info("listening on port %d", endpoint.server_address[1])
    presence = Presence(settings=settings, url=endpoint.url, card=endpoint.card, work=work)
    _start("endpoint", lambda: endpoint.serve_forever(poll_interval=0.05), endings)
    _start("presence", lambda: presence.run(stop), endings)

    ending = endings.get()
    log.info("stopping: %s", ending)
    stop.set()
    endpoint.shutdown()
    endpoint.server_close()
    if active := work.active():
        log.info("no new messages; %d being answered", active)
    if not work.wait_until_done(GRACE_SECONDS):
        log.warning("stopped with messages unanswered")
    log.info("stopped")
    return 0 if ending.startswith("SIG") else 1


def _start(name: str, run: Callable[[], None], endings: SimpleQueue[str]) -> None:
    """Run in a thread that does not keep the process alive; if it breaks, the process ends and the server sees it."""

    def guarded() -> None:
        try:
            run()
        except BaseException:
            log.exception("%s broke", name)
            endings.put(f"{name} broke")

    Thread(target=guarded, name=name, daemon=True).start()


def _log_to_stdout() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
