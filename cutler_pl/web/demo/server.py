"""The page's own server: it listens before anything is loaded, ends within seconds, and leaves nothing behind."""

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import uvicorn

from cutler_pl.runtime import signals
from cutler_pl.web.api.server import Server, address, listen
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.work_folder import work_folder

_GRACE_SECONDS = 6.0
_CONNECTIONS_SECONDS = 1  # that open connections are waited for


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
    with closing(listen(options.host, options.port)) as bound, work_folder(60 * options.keep_minutes) as work:
        _set_up_gradio(work.root)
        from cutler_pl.web.demo.app import build_app  # gradio reads the environment when it is imported

        app = build_app(checkpoint, options, work, backbones=backbones, device=device)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_CONNECTIONS_SECONDS
        )
        with signals.deferred(_GRACE_SECONDS):
            server = _Server(config)
            server.ready = f"open {address(bound)}/"
            server.run(sockets=[bound])
            if signum := signals.requested():
                raise signals.StoppedBySignal(signum, "the page is closed")


def _set_up_gradio(folder: Path) -> None:
    """Its files below one folder, and no word to anybody else."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_EXAMPLES_CACHE": str(folder / "cached_examples"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


class _Server(Server):
    """Cuts off what is still connected when it ends, such as open pages, without a word."""

    async def on_tick(self, counter: int) -> bool:
        """Whether to end."""
        ends = await super().on_tick(counter)
        if ends:
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
        return ends
