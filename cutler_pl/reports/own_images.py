"""HTML page of `recipe=own_images`: the images, the masks, what the detector finds before and after self-training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutler_pl.coco.failures import FAILURES_NAME, read_failures
from cutler_pl.datasets.image_check import SUMMARY
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.quality import DOUBTFUL, SUREST
from cutler_pl.reports.stages import (
    ByName,
    annotations_of,
    by_name,
    commands_of,
    confident,
    every_nth,
    finished_stages,
    loss_figures,
    predictions_of,
    read_json,
)
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.durations import format_duration
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Share
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

INTRO = (
    "A detector for your images, made without a single label: MaskCut cut each image into masks, a detector learned "
    "from them, and in self-training its confident detections replaced and completed the masks for the next round."
)
COLUMNS = (
    "From left to right: the image; the masks of MaskCut; the detections that score at least {min_score}, before each "
    "round of self-training and after the last one. Every detection is an `object`: the method knows no classes."
)
_MAX_LISTED = 50


@dataclass(frozen=True, kw_only=True)
class OwnFiles:
    """What the stages of `conf/recipe/own_images.yaml` wrote.

    Attributes:
        check: Output of the check of the images.
        masks: Outputs of MaskCut and of each round of self-training.
        trainings: Outputs of the trainings.
        predict: Predictions of the last detector.
        labels: Files for the labelling tool.
        quality: Report on the masks.
    """

    check: str
    masks: Sequence[str]
    trainings: Sequence[str]
    predict: str
    labels: str
    quality: str


def write_own_page(
    output: str | Path,
    files: OwnFiles,
    *,
    images: str | Path,
    seed: int,
    min_score: Share,
    notice: str | None = None,
    chosen: Mapping[str, str] | None = None,
    num_images: int = 12,
) -> None:
    """Write `index.html`, the figures beside it, and `overview.jpg`.

    Args:
        output: Folder of the recipe.
        files: Outputs of its stages.
        images: Folder of the images.
        min_score: Least score of a detection that is drawn.
        notice: Framed warning.
        chosen: Settings that were chosen for this machine and these images, each with its reason.
        num_images: Number of images that are shown.
    """
    output, trainings = Path(output), list(files.trainings)
    masks, found = annotations_of(Path(files.masks[0])), predictions_of(Path(files.predict))
    rounds = [
        _before_round(Path(before), Path(after)) for before, after in zip(files.masks, files.masks[1:], strict=False)
    ]
    detections = [*(confident(one, min_score) for one in rounds), found]
    captions = ["image", "masks", *_names(len(rounds))]
    rows = _rows(Path(images), every_nth(sorted(found), num_images), [masks, *detections])
    if rows:
        strips = [side_by_side(panels, titles=None if k else captions, height=200) for k, panels in enumerate(rows[:6])]
        width = max(strip.shape[1] for strip in strips)
        padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
        save_image(output / "overview.jpg", np.concatenate(padded), max_side=1600)
    titles = {f"Self-training, round {k}" if k else "Training on the masks": f for k, f in enumerate(trainings)}
    page = Page(
        title=f"Detector for {Path(images).resolve().name}",
        intro=[INTRO],
        notice=notice or "",
        sections=[
            _images_section(Path(files.check)),
            _quality_section(Path(files.quality)),
            _found_section(files, detections, min_score),
            Section("What was found", [COLUMNS.format(min_score=min_score)], [_row(captions, row) for row in rows]),
            Section("Losses", blocks=loss_figures(output, titles)),
            _next_section(files, images),
            _time_section(output),
            _chosen_section(chosen or {}),
        ],
        commands=commands_of(output),
        metadata=run_metadata(seed),
    )
    write_page(output / "index.html", page)


def _before_round(before: Path, after: Path) -> ByName:
    """Detections of the images by the detector that learned from the masks of `before`."""
    return by_name(read_json(before / "annotations.json"), read_json(after / "predictions" / "predictions.json"))


def _names(rounds: int) -> list[str]:
    """Captions of the columns of detections."""
    if rounds == 0:
        return ["detections"]
    return ["before self-training", *(f"after round {k}" for k in range(1, rounds + 1))]


def _rows(root: Path, names: Sequence[str], columns: Sequence[ByName]) -> list[list[np.ndarray]]:
    """The image, and it with the records of each column; one that cannot be read any more is logged and left out."""
    rows = []
    for name in names:
        try:
            image = read_image(root / name)
        except ImageReadError as error:
            log.warning("not on the page: %s", error)
            continue
        rows.append([image, *(draw_records(image, column.get(name, []), boxes=False) for column in columns)])
    return rows


def _row(captions: Sequence[str], panels: Sequence[np.ndarray]) -> Row:
    return Row([Figure(panel, caption=caption) for caption, panel in zip(captions, panels, strict=True)])


def _images_section(check: Path) -> Section:
    summary, failures = read_json(check / SUMMARY), read_failures(check / FAILURES_NAME)
    sizes = summary["sizes"]
    rows: list[list[str | int | float | None]] = [
        ["image files", summary["found"]],
        ["readable", summary["readable"]],
        ["copies of others", len(summary["copies"])],
        ["unreadable, left out", len(failures)],
        *([f"{kind} {side} in pixels", value] for side, of in sizes.items()
          for kind, value in zip(("least", "median", "largest"), of, strict=True)),
    ]  # fmt: skip
    blocks = [Table(["what", "number"], rows, "Images")]
    if failures:
        listed = list(failures.items())[:_MAX_LISTED]
        note = f"{len(listed)} of {len(failures)}; all are in `{check / FAILURES_NAME}`."
        blocks.append(Table(["image", "reason"], listed, "Unreadable", notes=[note], text_columns=2))
    return Section("Images", blocks=blocks)


def _quality_section(quality: Path) -> Section:
    report = read_json(quality / "quality.json")
    where = f"All figures: `{Path(*quality.parts[-2:]) / 'index.html'}` below this folder."
    sheets = {SUREST: "The surest masks", DOUBTFUL: "The most doubtful masks"}
    shown = [Figure(quality / name, caption) for name, caption in sheets.items() if (quality / name).is_file()]
    return Section("Does MaskCut work here?", [report["sentence"], *report["advice"], where], blocks=shown)


def _found_section(files: OwnFiles, detections: Sequence[ByName], min_score: float) -> Section:
    rows: list[list[str | int | float | None]] = []
    for number, folder in enumerate(files.masks):
        name = f"masks for round {number} of self-training" if number else "masks of MaskCut"
        rows.append([name, *_counts(annotations_of(Path(folder)))])
    names = _names(len(detections) - 1)
    rows += [[f"detections {name}".removeprefix("detections detections"), *_counts(found)]
             for name, found in zip(names, detections, strict=True)]  # fmt: skip
    note = f"Detections score at least {min_score:g}; masks of a round keep what the round before had."
    header = ["", "images", "objects", "objects per image", "images without"]
    return Section("Masks and detections", blocks=[Table(header, rows, "Counts", [note])])


def _counts(found: ByName) -> list[int | float]:
    total = sum(map(len, found.values()))
    return [len(found), total, total / max(1, len(found)), sum(not records for records in found.values())]


def _next_section(files: OwnFiles, images: str | Path) -> Section:
    checkpoint = Path(files.trainings[-1]) / "checkpoints" / "last.ckpt"
    return Section(
        "What to do next",
        [
            f"Correct the detections in your labelling tool: the files for it are in `{files.labels}`; "
            "`format=coco|yolo|cvat|labelstudio|labelme|fiftyone` writes others, and redoes only that.",
            f"Run the detector on others: `cutler predict checkpoint={checkpoint} input=<folder> output=<folder>`.",
            "Learn classes from labels that you have corrected: `cutler train experiment=few_shot "
            f"data.images={images} data.annotations=<corrected json> model.init={checkpoint} model.reset_head=true`.",
            "Better masks before all else: `maskcut=dino_vitb8` on a GPU, other `maskcut.num_masks`, `maskcut.tau`. "
            "More time for the training: `budget=1h`. The same command with another setting redoes what depends on it.",
        ],
    )


def _time_section(output: Path) -> Section:
    estimates = _estimates(output)
    rows: list[list[str | int | float | None]] = []
    for folder, record in finished_stages(output).items():
        name = folder.partition("_")[2]
        rows.append([name, _shown(record.get("seconds")), _shown(estimates.get(name))])
    note = "Stages that were interrupted have no time; this page was written in the last one, `page`."
    return Section("Time", blocks=[Table(["stage", "time", "estimated before"], rows, "Time", [note], text_columns=3)])


def _estimates(output: Path) -> Mapping[str, Any]:
    path = output / "estimates.json"
    return read_json(path) if path.is_file() else {}


def _shown(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(seconds)


def _chosen_section(chosen: Mapping[str, str]) -> Section:
    rows = [[name, *text.partition(": ")[::2]] for name, text in chosen.items()]
    note = "Chosen for this machine and these images; a value that is given counts instead."
    return Section("Settings", blocks=[Table(["setting", "value", "reason"], rows, "Settings", [note], text_columns=3)])
