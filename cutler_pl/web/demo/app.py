"""The application: models loaded and warmed up, the page, and the guard around it."""

from collections.abc import Sequence
from pathlib import Path

import gradio
from fastapi import FastAPI
from starlette.types import ASGIApp

from cutler_pl.api import CutLER
from cutler_pl.images import read_image
from cutler_pl.web.demo.answers import Demo
from cutler_pl.web.demo.backbones import WITHOUT_WEIGHTS, Backbones
from cutler_pl.web.demo.cutting import CutRequest, cut
from cutler_pl.web.demo.detection import detect
from cutler_pl.web.demo.examples import write_examples
from cutler_pl.web.demo.guard import Guard
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.page import CSS, build_page, theme
from cutler_pl.web.demo.work_folder import WorkFolder

_SESSIONS = 32
"""People whose last answer gradio keeps in memory, for links to it, which this page has none of."""


def build_app(
    checkpoint: str, options: DemoOptions, work: WorkFolder, *, backbones: Sequence[str] | None, device: str
) -> ASGIApp:
    """Build all that answers a request.

    Args:
        checkpoint: What `CutLER.from_pretrained` takes.
        options: What is accepted.
        work: Where files are read and written.
        backbones: Features to cut by besides `patch_descriptors`; None for those whose weights are here.
        device: Where the models run.

    Raises:
        CheckpointError: Weights cannot be had.
        ConfigError: There is no such device or backbone.
    """
    model = CutLER.from_pretrained(checkpoint, device=device)
    name = Path(checkpoint).name if Path(checkpoint).is_file() else checkpoint
    demo = Demo(model, name, Backbones(backbones, device=model.device), options, work)
    examples = write_examples(work.examples)
    _warm_up(demo, examples[0])
    page = build_page(demo, examples)
    page.state_session_capacity = _SESSIONS
    app = gradio.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        server_name=options.host,
        server_port=options.port,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=options.max_bytes,
        enable_monitoring=False,
        pwa=False,
        ssr_mode=False,
        mcp_server=False,
        theme=theme(),
        css_paths=[CSS],
    )
    page.has_launched = True  # only then does gradio check the paths that it is sent
    return Guard(app, work, options.limits, list(page.fns))


def _warm_up(demo: Demo, example: Path) -> None:
    """The first answers compile what the later ones use."""
    image = read_image(example)
    detect(demo.model, image, score_threshold=demo.options.score_threshold, file_name=example.name)
    start = demo.backbones.params(WITHOUT_WEIGHTS)
    request = CutRequest(WITHOUT_WEIGHTS, start.num_masks, start.tau, start.stop)
    cut(demo.backbones, image, request, file_name=example.name)
