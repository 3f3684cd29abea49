"""Page of a recipe: masks of each round, losses of each training, the last detector beside published numbers."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutler_pl.coco.stream import Batch, read_batches
from cutler_pl.reports.evaluation_tables import Report, metrics_table, published_table
from cutler_pl.reports.html_report import Figure, Page, Section, write_page
from cutler_pl.reports.tables import Table, markdown_table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_text
from cutler_pl.visual.curves import plot_curves, read_metrics, save_figure, select_curves

INTRO = (
    "MaskCut cut the training images into pseudo-masks, a detector learned from them, and in each round of "
    "self-training its confident predictions replaced and completed the masks for the next one."
)


def write_recipe_report(
    output: str | Path, *, masks: Sequence[str], trainings: Sequence[str], evaluation: str, seed: int
) -> None:
    """Write `index.html` and `report.md` from what the stages of `conf/recipe/cutler.yaml` wrote.

    Args:
        output: Folder of the recipe.
        masks: Folders of the masks that each training learned from.
        trainings: Folders of the trainings.
        evaluation: Folder of the evaluation of the last one.
    """
    output, metrics = Path(output), _read(Path(evaluation) / "results.json")
    report = Report(results=metrics, method=f"this run, round {len(trainings) - 1}")
    tables = [published_table(report), metrics_table(report), _masks_table(masks), _stages_table(output)]
    tables = [table for table in tables if table.rows]
    sections = [Section(table.title, blocks=[table]) for table in tables]
    page = Page(
        title="CutLER",
        intro=[INTRO, f"Curves and examples of each dataset: `{Path(evaluation) / 'index.html'}`."],
        sections=[*sections, Section("Losses", blocks=_curves(output, trainings))],
        commands=[record["command"] for record in _markers(output).values() if record["command"]],
        metadata=run_metadata(seed),
    )
    write_page(output / "index.html", page)
    texts = [f"## {table.title}\n\n{markdown_table(table)}\n{' '.join(table.notes)}\n" for table in tables]
    write_text(output / "report.md", "\n".join(["# CutLER\n", *texts]))


def _masks_table(folders: Sequence[str]) -> Table:
    rows: list[list[str | int | float]] = []
    for number, folder in enumerate(folders):
        counts: Counter[str] = Counter()
        for key, batch in read_batches(Path(folder) / "annotations.json"):
            counts[key] += len(batch) if isinstance(batch, Batch) else 0
        images, found = counts["images"], counts["annotations"]
        rows.append([f"round {number}" if number else "MaskCut", images, found, found / max(1, images)])
    return Table(["masks of", "images", "masks", "masks per image"], rows, "Masks")


def _stages_table(output: Path) -> Table:
    rows = [[name, _minutes(record.get("seconds"))] for name, record in _markers(output).items()]
    notes = ("Minutes of stages that ran without an interruption.",)
    return Table(["stage", "minutes"], rows, "Time", notes)


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _markers(output: Path) -> dict[str, Any]:
    """What each finished stage notes of itself, by the name of its folder, in order."""
    files = sorted(output.glob("stages/*/stage.json"), key=lambda path: int(path.parent.name.partition("_")[0]))
    records = {file.parent.name: _read(file) for file in files}
    return {name: record for name, record in records.items() if record.get("state") == "finished"}


def _curves(output: Path, trainings: Sequence[str]) -> list[Figure]:
    figures = []
    for number, folder in enumerate(trainings):
        logs = sorted(Path(folder).rglob("metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
        if not logs:  # shorter than the log interval
            continue
        title = f"Self-training, round {number}" if number else "Training on MaskCut's masks"
        path = output / f"loss_{number}.svg"
        save_figure(path, plot_curves(select_curves(read_metrics(logs), "train/loss*"), title=title, y_label="loss"))
        figures.append(Figure(path, caption=title))
    return figures


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
