"""HTML page of an evaluation: tables beside the published numbers, curves and examples of each dataset."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.evaluation.published import zero_shot
from cutler_pl.reports.evaluation_figures import draw_examples, draw_precision_recall
from cutler_pl.reports.evaluation_tables import SUPERVISED, Report, all_tables, missing_table
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import Table

PAGE = "index.html"
CURVES = "precision_recall.svg"
EXAMPLES = "examples"
_FIGURES_PER_ROW = 3
_KINDS = {"best": "Best", "worst": "Worst", "random": "Others, at random"}


@dataclass(frozen=True)
class EvaluatedDataset:
    """A measured dataset; `images` is None without examples, `folder` gets curves and examples."""

    name: str
    result: DatasetResult
    images: Path | None
    folder: Path


def write_evaluation_page(
    output: Path, report: Report, datasets: Sequence[EvaluatedDataset], *, command: str | None = None
) -> None:
    """Draw curves and examples of each dataset and write `<output>/index.html`; `command` repeats the evaluation."""
    missing = missing_table(report)
    sections = [Section(table.title, blocks=(table,)) for table in all_tables(report) if table != missing]
    sections += [_dataset(dataset) for dataset in datasets]
    if report.missing:
        sections.append(Section(missing.title, blocks=(missing,)))
    page = Page(
        title=f"Evaluation of {report.method}",
        intro=(f"Detections compared with ground truth by COCO's rules: {', '.join(d.name for d in datasets)}.",),
        notice=f"Not measured: {', '.join(report.missing)}. The last part says why." if report.missing else "",
        sections=sections,
        commands=() if command is None else (command,),
        metadata=json.loads((output / "run.json").read_text(encoding="utf-8")),
    )
    write_page(output / PAGE, page)


def _dataset(dataset: EvaluatedDataset) -> Section:
    blocks: list[Table | Row | Figure] = []
    if any(dataset.result.curves.values()):
        draw_precision_recall(dataset.result, dataset.folder / CURVES)
        blocks.append(Figure(dataset.folder / CURVES, caption="Means over all categories, for boxes and masks."))
    text = []
    if dataset.images is not None and dataset.result.examples:
        text.append(
            "Ground truth left, prediction right: of each image as many of the best detections as it has objects. "
            "Best and worst go by the AP50 of the image's own boxes, all categories taken for one."
        )
        for kind, figures in draw_examples(dataset.result, dataset.images, dataset.folder / EXAMPLES).items():
            rows = [figures[start : start + _FIGURES_PER_ROW] for start in range(0, len(figures), _FIGURES_PER_ROW)]
            blocks += [Row(row, title="" if place else _KINDS[kind]) for place, row in enumerate(rows)]
    titles = {**zero_shot().titles, SUPERVISED: "COCO, 80 classes"}
    return Section(titles.get(dataset.name, dataset.name), text, blocks)
