"""What the stages of a recipe wrote, for its page: annotations and results by image, losses, times."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cutler_pl.coco.records import group_by_image
from cutler_pl.reports.html_report import Figure
from cutler_pl.visual.curves import plot_curves, read_metrics, save_figure, select_curves

ByName = Mapping[str, Sequence[Mapping[str, Any]]]
"""Annotations or results by the file name of their image."""


def read_json(path: Path) -> Any:
    """Content of a file that a stage wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def annotations_of(stage: Path) -> ByName:
    """Annotations in the folder of MaskCut or of self-training."""
    coco = read_json(stage / "annotations.json")
    return by_name(coco, coco["annotations"])


def predictions_of(stage: Path) -> ByName:
    """Results in the folder of a prediction."""
    return by_name(read_json(stage / "images.json"), read_json(stage / "predictions.json"))


def by_name(coco: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> ByName:
    """Records of each image of a COCO file."""
    groups = group_by_image(records)
    return {image["file_name"]: groups.get(image["id"], []) for image in coco["images"]}


def confident(found: ByName, min_score: float) -> ByName:
    """Those that score at least so much."""
    return {name: [record for record in records if record["score"] >= min_score] for name, records in found.items()}


def every_nth(names: Sequence[str], count: int) -> Sequence[str]:
    """So many of the names, at equal distances."""
    return names[:: max(1, len(names) // count)][:count]


def loss_figures(output: Path, trainings: Mapping[str, str]) -> list[Figure]:
    """Curves of the losses of each training, by its title; none of one that is shorter than the log interval."""
    figures: list[Figure] = []
    for title, folder in trainings.items():
        logs = sorted(Path(folder).rglob("metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
        if not logs:
            continue
        path = output / f"loss_{len(figures) + 1}.svg"
        curves = select_curves(read_metrics(logs), "train/loss*")
        save_figure(path, plot_curves(curves, title=title, y_label="loss"))
        figures.append(Figure(path, caption=title))
    return figures


def finished_stages(output: Path) -> dict[str, Any]:
    """What each finished stage notes of itself, by the name of its folder, in order."""
    files = sorted(output.glob("stages/*/stage.json"), key=lambda path: int(path.parent.name.partition("_")[0]))
    records = {file.parent.name: read_json(file) for file in files}
    return {name: record for name, record in records.items() if record.get("state") == "finished"}


def commands_of(output: Path) -> list[str]:
    """Commands of the finished stages."""
    return [record["command"] for record in finished_stages(output).values() if record["command"]]
