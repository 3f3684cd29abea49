"""HTML page of several generators on the same images: their masks side by side, counts, seconds, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.generators.papers import PAPERS, tau_option
from cutler_pl.pseudo_masks.variants import ImageVariants, VariantMasks
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.maskcut import draw_overlay
from cutler_pl.reports.tables import Cell, Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.ranges import show

PAGE = "index.html"
_SIDE = 480
"""Longer side of a figure in pixels."""


@dataclass(frozen=True)
class Compared:
    """What the page says of a generator.

    Attributes:
        options: All values that its masks depend on, by name.
        features: Its features, in words.
    """

    options: Mapping[str, Any]
    features: str


@dataclass
class Comparison:
    """The figures and numbers of a run, image by image.

    Attributes:
        generators: By name, in the order of the columns.
        rows: A row per image.
        masks: Of each image, by generator.
        failed: Reason per image that could not be read.
    """

    generators: Mapping[str, Compared]
    rows: list[Row] = field(default_factory=list)
    masks: list[Mapping[str, VariantMasks]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, image: ImageVariants) -> None:
        """Draw the masks of an image."""
        small = _shrunk(image.pixels)
        figures = [Figure(small, caption="image", alt=image.name)]
        for name, found in image.masks.items():
            figures.append(Figure(_drawn(small, found), caption=_caption(name, found), alt=f"Masks of {name}"))
        self.rows.append(Row(figures, title=image.name))
        self.masks.append(image.masks)

    def counts(self) -> dict[str, dict[str, float | int | None]]:
        """Numbers of each generator, as `comparison.json` holds them."""
        return {name: _counts([masks[name] for masks in self.masks]) for name in self.generators}


def write_comparison_page(output: Path, comparison: Comparison, *, total: int, command: str) -> None:
    """Write `<output>/index.html`, a single file.

    Args:
        output: The folder.
        comparison: All images.
        total: Number of images of the input, of which some are shown.
        command: Repeats the run.
    """
    names = list(comparison.generators)
    sections = [
        Section("Numbers", blocks=(_numbers(comparison),)),
        Section(
            "Images",
            text=(
                f"{len(comparison.rows)} of {total} images, at equal distances. Left to right: the image, then the "
                f"masks of {', '.join(names)}. Each mask has a color of its own, the surest the first; what no mask "
                "covers is dark, and an image without masks stays as it is. Seconds are those of the masks, "
                "without the features.",
            ),
            blocks=comparison.rows,
        ),
        Section("Papers, features and settings", blocks=(_origins(comparison), _options(comparison))),
    ]
    if comparison.failed:
        failed = Table(["image", "reason"], sorted(comparison.failed.items()), title="Failed", text_columns=2)
        sections.append(Section("Failed", blocks=(failed,)))
    page = Page(
        title="Generators side by side",
        intro=(
            "Pseudo-masks of the same images by several generators, without any label. Scores of different generators "
            "are not on one scale.",
        ),
        sections=sections,
        commands=(command,),
        metadata=run_metadata(),
    )
    write_page(output / PAGE, page, embed=True)


def _shrunk(pixels: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.array(image)


def _drawn(small: UInt8[np.ndarray, "_ _ 3"], found: VariantMasks) -> UInt8[np.ndarray, "_ _ 3"]:
    annotations = sorted(found.record.get("annotations", ()), key=lambda one: -one["score"])
    return draw_overlay(small, [rle.decode(cast(RLE, one["segmentation"])) for one in annotations])


def _caption(name: str, found: VariantMasks) -> str:
    if "failure" in found.record:
        return f"{name}: {found.record['failure']}"
    scores = sorted((one["score"] for one in found.record["annotations"]), reverse=True)
    count = f"{len(scores)} mask{'' if len(scores) == 1 else 's'}"
    spread = (
        f", score{'s' if len(scores) > 1 else ''} {' to '.join(f'{s:.2f}' for s in {scores[0]: 0, scores[-1]: 0})}"
        if scores
        else ""
    )
    return f"{name}: {count}{spread}, {found.seconds:.2f}\u00a0s"


def _counts(found: Sequence[VariantMasks]) -> dict[str, float | int | None]:
    done = [one for one in found if "failure" not in one.record]
    scores = [mask["score"] for one in done for mask in one.record["annotations"]]
    return {
        "images": len(done),
        "masks": len(scores),
        "without_mask": sum(not one.record["annotations"] for one in done),
        "median_score": median(scores) if scores else None,
        "seconds": median(one.seconds for one in done) if done else None,
        "feature_seconds": median(one.feature_seconds for one in done) if done else None,
    }


def _numbers(comparison: Comparison) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, numbers in comparison.counts().items():
        images, masks = numbers["images"] or 0, numbers["masks"] or 0
        score, seconds, features = (numbers[key] for key in ("median_score", "seconds", "feature_seconds"))
        rows.append((
            name, masks, masks / images if images else None, numbers["without_mask"],
            *(None if value is None else f"{value:.2f}" for value in (score, seconds, features)),
        ))  # fmt: skip
    header = [
        "generator", "masks", "per image", "images without", "median score", "s per image", "features, s per image",
    ]  # fmt: skip
    notes = (
        "Seconds are medians over the images: of cutting, refinement and encoding, and of the features, which are "
        "computed once per image and backbone, however many generators take them.",
    )
    return Table(header, rows, title="Numbers", notes=notes)


def _origins(comparison: Comparison) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, one in comparison.generators.items():
        tau = tau_option(one.options)
        rows.append((name, PAPERS.get(name), one.features, None if tau is None else f"{show(one.options[tau])}"))
    return Table(["generator", "paper", "features", "τ"], rows, title="Papers and features", text_columns=4)


def _options(comparison: Comparison) -> Table:
    rows: list[Sequence[Cell]] = [
        (name, ", ".join(f"{key} {show(value)}" for key, value in one.options.items()))
        for name, one in comparison.generators.items()
    ]
    return Table(["generator", "settings"], rows, title="Settings", text_columns=2)
