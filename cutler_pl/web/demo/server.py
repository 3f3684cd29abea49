"""The page's own server: it listens before anything is loaded, ends within seconds, and leaves nothing behind."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from cutler_pl.errors import ConfigError
from cutler_pl.runtime import signals
from cutler_pl.runtime.logging import get_logger
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.work_folder import work_folder

log = get_logger(__name__)

_GRACE_SECONDS = 6.0
_CONNECTIONS_SECONDS = 1  # that open connections are waited for
_LOOK_SECONDS = 0.2
_BACKLOG = 128
_EVERYWHERE = ("0.0.0.0", "::")


def serve_demo(
    checkpoint: str, options: DemoOptions, *, backbones: Sequence[str] | None = None, device: str = "auto"
) -> None:
    """Serve the page until the process is told to end.

    Args:
        checkpoint: What `CutLER.from_pretrained` takes.
        options: Where it listens, and what it accepts.
        backbones: Features to cut by besides `patch_descriptors`; None for those whose weights are here.
        device: Where the models run.

    Raises:
        ConfigError: The address cannot be listened at, or there is no such device or backbone.
        CheckpointError: Weights cannot be had.
        StoppedBySignal: The process was told to end.
    """
    with _bound(options) as listener, work_folder(60 * options.keep_minutes) as work:
        _set_up_gradio(work.root)
        from cutler_pl.web.demo.app import build_app  # gradio reads the environment when it is imported

        app = build_app(checkpoint, options, work, backbones=backbones, device=device)
        host, port = listener.getsockname()[:2]
        log.info("open http://%s:%d/", "127.0.0.1" if host in _EVERYWHERE else host, port)
        try:
            with signals.deferred(_GRACE_SECONDS):
                asyncio.run(_serve(app, listener))
        except signals.StoppedBySignal as stop:
            stop.rest = "the page is closed"
            raise


@contextmanager
def _bound(options: DemoOptions) -> Iterator[socket.socket]:
    """A socket at the address, which no second server can have."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"host={options.host} port={options.port}: cannot listen there ({reason}); choose another port, "
                "port=0 for any free one, or host=127.0.0.1"
            ) from error
        yield listener


def _set_up_gradio(folder: Path) -> None:
    """Its files below one folder, and no word to anybody else."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_EXAMPLES_CACHE": str(folder / "cached_examples"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


class _Server(uvicorn.Server):
    """uvicorn's server without handlers of signals: `runtime.signals` has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers as they are."""
        yield


async def _serve(app: ASGIApp, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_CONNECTIONS_SECONDS,
    )
    server = _Server(config)

    async def watch() -> None:
        while signals.requested() is None:
            await asyncio.sleep(_LOOK_SECONDS)
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # connections that are cut off now are no errors
        server.should_exit = True

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()
