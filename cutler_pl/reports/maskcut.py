"""HTML page of a run of `cutler maskcut`: steps from image to mask, and counts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image_size
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.figure_path import figure_path, names_alike
from cutler_pl.visual.heatmap import draw_heatmap

log = get_logger(__name__)

MAX_IMAGES = 200
"""Largest number of images on a page, at equal distances."""
_PANEL_HEIGHT, _PANEL_WIDTH = 256, 1024
_MAPS = {
    "maskcut": "the second smallest generalised eigenvector of each round (warm is the object's side), ",
    "votecut": "the share of votes for each patch (warm has most), ",
    "promerge": "the share of background candidates that hold each patch (warm has most), ",
}
"""What each generator shows of its way to the masks; others show nothing."""


def draw_overlay(
    image: UInt8[np.ndarray, "height width 3"], masks: Sequence[Bool[np.ndarray, "_ _"]]
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw masks of any size on an image."""
    height, width = image.shape[:2]
    resized = [Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST) for mask in masks]
    return draw_instances(image, np.array(resized, dtype=bool).reshape(-1, height, width))


def draw_steps(image: UInt8[np.ndarray, "_ _ 3"], found: ImageMasks) -> UInt8[np.ndarray, "_ _ 3"]:
    """Image, what the masks were read from, masks before and after the refinement, side by side."""
    height, width = image.shape[:2]
    scale = min(_PANEL_HEIGHT / height, _PANEL_WIDTH / width)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.array(Image.fromarray(image).resize(size_wh, Image.Resampling.LANCZOS))
    panels = {"image": small}
    panels |= {title: draw_heatmap(small, grid) for title, grid in found.maps.items()}
    if found.confidence is not None and (is_kept := found.refined.flatten(1).any(1)).any():
        lowest = found.confidence[is_kept].amin(0) / CERTAIN
        panels["confidence"] = draw_heatmap(small, lowest, center=1.0, reach=1.0)
    panels["before the refinement"] = draw_overlay(small, list(found.coarse.numpy()))
    panels["after the refinement"] = draw_overlay(small, list(found.refined.numpy()))
    return side_by_side(list(panels.values()), list(panels))


def write_maskcut_page(output: Path, names: Sequence[str], report: MergeReport, *, generator: str) -> None:
    """Write `<output>/index.html` from the figures in `<output>/steps/`; `names` are the images of the run.

    A figure that is not there any more, or damaged, is logged and left out.
    """
    alike = names_alike(names)
    read = [name for name in names if name not in report.failed]
    shown = read[:: -(-len(read) // MAX_IMAGES)] if read else []
    paths = ((name, figure_path(output / "steps", name, alike=alike)) for name in shown)
    steps = [(name, path) for name, path in paths if _is_readable(path)]
    rows = [Row([Figure(path, alt=f"Steps of {generator} for {name}")], title=name) for name, path in steps]
    counts = [
        ("images", report.images),
        ("masks", report.annotations),
        ("images without a mask", report.without_annotations),
        *((f"masks dropped: {reason}", count) for reason, count in sorted(report.dropped.items())),
        ("images that failed", len(report.failed)),
    ]
    sections = [
        Section("Counts", blocks=(Table(["what", "number"], counts, title="Counts"),)),
        Section(
            "Images",
            text=(
                f"{len(rows)} of {report.images} images. Left to right: the image, {_MAPS.get(generator, '')}"
                "masks before and after the refinement. With "
                "`confidence=perturbed_cuts`, the confidence of the masks comes before them: the bluer a patch, the "
                "fewer cuts agree about it. `overlays/` has the masks alone, larger.",
            ),
            blocks=rows,
        ),
    ]
    if report.failed:
        failed = Table(["image", "reason"], sorted(report.failed.items()), title="Failed", text_columns=2)
        sections.append(Section("Failed", blocks=(failed,)))
    page = Page(
        title="Pseudo-masks",
        intro=(f"Masks of objects, found by generator={generator} without any label.",),
        sections=sections,
        metadata=run_metadata(),
    )
    write_page(output / "index.html", page)


def _is_readable(figure: Path) -> bool:
    try:
        read_image_size(figure)
    except ImageReadError as error:
        log.warning("not on the page: %s", error)
        return False
    return True
