"""The page: two tabs, each an image, settings, a figure before and after, details and downloads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base
from gradio.themes.utils import colors, fonts

from cutler_pl.web.demo import markup
from cutler_pl.web.demo.answers import HINT, Answer, Demo
from cutler_pl.web.demo.cutting import MAX_ROUNDS, STOPS
from cutler_pl.weights.sources import PACKAGED

TITLE = "CutLER"
_SLIDER_PERCENT = 4  # most of the figure after; the handle can be seen
CSS = Path(__file__).with_name("page.css")


def theme() -> Base:
    """gradio's plain theme in the docs' color; `page.css` names the fonts, which are the system's."""
    plain = Base(
        primary_hue=colors.teal,
        neutral_hue=colors.slate,
        font=fonts.Font("sans-serif"),
        font_mono=fonts.Font("monospace"),
    )
    return plain.set(  # white on it has a contrast of 5.5
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )


def build_page(demo: Demo, examples: Sequence[Path]) -> gr.Blocks:
    """Lay out the page.

    Args:
        demo: What answers it.
        examples: Images to try.
    """
    options = demo.options
    keep_seconds = 60 * options.keep_minutes
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, keep_seconds))
    with page:
        gr.HTML(markup.render("header"), elem_classes="plain")
        with gr.Tabs():
            with gr.Tab("Detector"):
                _detector_tab(demo, examples)
            with gr.Tab("MaskCut"):
                _maskcut_tab(demo, examples)
        gr.HTML(_about(demo), elem_classes="plain")
    page.queue(max_size=options.max_queue, default_concurrency_limit=1, api_open=False)
    return page


def _about(demo: Demo) -> str:
    """What runs where, on what terms."""
    config, names = demo.model.detector.config, demo.model.names
    classes = f"the class {names[1]}" if len(names) == 1 else f"{len(names)} classes"
    return markup.render(
        "about",
        device=demo.device,
        checkpoint=demo.checkpoint,
        architecture=f"{config.backbone} with {len(config.stage_ious)} box stages and {classes}",
        demonstration=demo.checkpoint in PACKAGED,
        backbones=demo.backbones.names,
        missing=bool(demo.backbones.missing),
        megabytes=f"{demo.options.max_bytes / 1e6:g}",
        megapixels=f"{demo.options.max_pixels / 1e6:g}",
        keep_minutes=demo.options.keep_minutes,
    )


def _detector_tab(demo: Demo, examples: Sequence[Path]) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            image = _image_field(examples)
            threshold = gr.Slider(
                0, 1, demo.options.score_threshold, step=0.01, label="Score threshold", info="objects score above it"
            )
            run = gr.Button("Detect objects", variant="primary")
        with gr.Column(scale=7, min_width=300):
            parts = _answer_parts()
    _connect(demo.detect, image, [threshold], run, parts)


def _maskcut_tab(demo: Demo, examples: Sequence[Path]) -> None:
    backbones = demo.backbones
    start = backbones.params(backbones.names[0])
    stop_at_first = "adaptive"  # no rounds that only cut the background
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            image = _image_field(examples)
            backbone = gr.Dropdown(backbones.names, value=backbones.names[0], label="Backbone", filterable=False)
            num_masks = gr.Slider(
                1, MAX_ROUNDS, start.num_masks, step=1, label="N", info="rounds, at most one object each"
            )
            tau = gr.Slider(0, 0.99, start.tau, step=0.01, label="τ", info="patches whose cosine is above it are alike")
            stop = gr.Dropdown(list(STOPS), value=stop_at_first, label="Stop rule", filterable=False)
            run = gr.Button("Cut masks", variant="primary")
        with gr.Column(scale=7, min_width=300):
            parts = _answer_parts()
    backbone.input(lambda name: backbones.params(name).tau, backbone, tau, api_visibility="private", queue=False)
    _connect(demo.cut, image, [backbone, num_masks, tau, stop], run, parts)


def _image_field(examples: Sequence[Path]) -> gr.Image:
    """Where an image is uploaded, and the examples below it."""
    image = gr.Image(
        label="Image", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=300, buttons=[]
    )
    gr.Examples([[str(path)] for path in examples], [image], label="Generated scenes to try", cache_examples=False)
    return image


def _answer_parts() -> list[Any]:
    """The parts that an `Answer` fills, in the order of `_values`."""
    status = gr.HTML(markup.status(HINT, kind="hint"), elem_classes="plain", padding=False)
    figure = gr.ImageSlider(
        label="Before and after",
        type="filepath",
        interactive=False,
        buttons=["fullscreen"],
        slider_position=_SLIDER_PERCENT,
    )
    details = gr.HTML("", elem_classes="plain", padding=False)
    with gr.Row():
        annotations = gr.DownloadButton("COCO JSON", interactive=False, size="md")
        masks = gr.DownloadButton("Masks and COCO JSON (zip)", interactive=False, size="md")
    return [status, figure, details, annotations, masks]


def _connect(
    answer: Callable[..., Answer], image: gr.Image, fields: Sequence[Any], run: gr.Button, parts: list[Any]
) -> None:
    """Answer a new image, and the button; one request of all people at a time."""

    def values(*sent: Any) -> list[Any]:
        return _values(answer(*sent))

    options: dict[str, Any] = {
        "inputs": [image, *fields],
        "outputs": parts,
        "preprocess": False,  # gradio would open the file; what is sent is checked by the answer
        "concurrency_id": "answers",
        "concurrency_limit": 1,
        "show_progress_on": parts[1],
        "api_visibility": "private",
    }
    image.change(values, trigger_mode="always_last", **options)
    run.click(values, trigger_mode="once", **options)


def _values(answer: Answer) -> list[Any]:
    files = [None, None] if answer.downloads is None else [str(path) for path in answer.downloads]
    return [
        answer.status,
        None if answer.figures is None else tuple(str(path) for path in answer.figures),
        answer.details,
        *(gr.DownloadButton(value=file, interactive=file is not None) for file in files),
    ]
