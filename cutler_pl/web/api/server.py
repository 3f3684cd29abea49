"""Listening on an address, and ending so that running requests are answered."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from cutler_pl.errors import ConfigError
from cutler_pl.runtime import signals

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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to this package."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether to end, asked ten times per second."""
        return await super().on_tick(counter) or signals.requested() is not None


def serve(app: FastAPI, bound: socket.socket, *, timeout: float) -> None:
    """Answer requests until a signal comes, then those that are running; `timeout` seconds is what one may take.

    Raises:
        StoppedBySignal: A signal came.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, loop="asyncio", ws="none", lifespan="on",
        timeout_graceful_shutdown=int(timeout + _LEFT_SECONDS),
    )  # fmt: skip
    with signals.deferred(timeout + 2 * _LEFT_SECONDS):
        Server(config).run(sockets=[bound])
        if signum := signals.requested():
            raise signals.StoppedBySignal(signum, "the requests that were running are answered")
