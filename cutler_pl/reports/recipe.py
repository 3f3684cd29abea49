"""Page of a recipe: masks of each round, losses of each training, the last detector beside published numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cutler_pl.coco.stream import Batch, read_batches
from cutler_pl.reports.evaluation_tables import Report, metrics_table, published_table
from cutler_pl.reports.html_report import Page, Section, write_page
from cutler_pl.reports.stages import commands_of, finished_stages, loss_figures, read_json
from cutler_pl.reports.tables import Table, markdown_table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_text

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
    output, metrics = Path(output), read_json(Path(evaluation) / "results.json")
    report = Report(results=metrics, method=f"this run, round {len(trainings) - 1}")
    tables = [published_table(report), metrics_table(report), _masks_table(masks), _stages_table(output)]
    tables = [table for table in tables if table.rows]
    sections = [Section(table.title, blocks=[table]) for table in tables]
    titles = {f"Self-training, round {k}" if k else "Training on MaskCut's masks": f for k, f in enumerate(trainings)}
    page = Page(
        title="CutLER",
        intro=[INTRO, f"Curves and examples of each dataset: `{Path(evaluation) / 'index.html'}`."],
        sections=[*sections, Section("Losses", blocks=loss_figures(output, titles))],
        commands=commands_of(output),
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
    rows = [[name, _minutes(record.get("seconds"))] for name, record in finished_stages(output).items()]
    notes = ("Minutes of stages that ran without an interruption.",)
    return Table(["stage", "minutes"], rows, "Time", notes)


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
