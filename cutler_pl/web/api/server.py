"""Listening on an address, and ending so that running requests are answered."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from cutler_pl.errors import ConfigError
from cutler_pl.runtime import signals
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_LEFT_SECONDS = 5.0  # beyond the time limit of a request


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address: taken before anything is loaded, and answered once it is served.

    Raises:
        ConfigError: The address is not of this machine, or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"host={host} port={port}: cannot be listened on ({reason}); give another port=, or host=127.0.0.1 for "
            "this machine alone and host=0.0.0.0 for all that reach it"
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """The http address of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """Ends at the first signal of `runtime.signals`, once running requests are answered."""

    ready = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where, once requests are answered."""
        await super().startup(sockets)
        if self.ready:
            log.info("%s", self.ready)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to this package."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether to end, asked ten times per second."""
        return await super().on_tick(counter) or signals.requested() is not None


def serve(app: FastAPI, bound: socket.socket, *, timeout: float, ready: str = "ready") -> None:
    """Answer requests until a signal comes, then those that are running.

    Args:
        app: What answers.
        bound: Where, from `listen`.
        timeout: Seconds that a request may take.
        ready: Logged once requests are answered.

    Raises:
        StoppedBySignal: A signal came.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, loop="asyncio", ws="none", lifespan="on",
        timeout_graceful_shutdown=int(timeout + _LEFT_SECONDS),
    )  # fmt: skip
    with signals.deferred(timeout + 2 * _LEFT_SECONDS):
        server = Server(config)
        server.ready = ready
        server.run(sockets=[bound])
        if signum := signals.requested():
            raise signals.StoppedBySignal(signum, "the requests that were running are answered")
