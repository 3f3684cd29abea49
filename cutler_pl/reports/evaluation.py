"""The page of an evaluation: tables beside the published numbers, then curves and examples of each dataset."""

import json
from collections.abc import Mapping
from pathlib import Path

from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.evaluation.published import zero_shot
from cutler_pl.reports.evaluation_tables import SUPERVISED, Report, all_tables, missing_table
from cutler_pl.reports.html_report import Figure, Page, Row, Section, write_page
from cutler_pl.reports.tables import Table

PAGE = "index.html"
CURVES = "precision_recall.svg"
PICTURES = "pictures"
_FIGURES_PER_ROW = 3
_KINDS = {"best": "Best", "worst": "Worst", "random": "Others, at random"}


def write_evaluation_page(
    output: Path,
    report: Report,
    results: Mapping[str, DatasetResult],
    folders: Mapping[str, Path],
    *,
    command: str | None = None,
) -> None:
    """Write `<output>/index.html`.

    Args:
        output: Folder of the evaluation.
        report: The run.
        results: Result of each dataset.
        folders: Folder of each dataset's curves and examples.
        command: The command line that repeats the evaluation.
    """
    missing = missing_table(report)
    sections = [Section(table.title, blocks=(table,)) for table in all_tables(report) if table != missing]
    sections += [_dataset(name, result, folders[name]) for name, result in results.items()]
    if report.missing:
        sections.append(Section(missing.title, blocks=(missing,)))
    page = Page(
        title=f"Evaluation of {report.method}",
        intro=(f"Detections compared with ground truth by COCO's rules: {', '.join(results)}.",),
        notice=f"Not measured: {', '.join(report.missing)}. The last part says why." if report.missing else "",
        sections=sections,
        commands=() if command is None else (command,),
        metadata=json.loads((output / "run.json").read_text(encoding="utf-8")),
    )
    write_page(output / PAGE, page)


def _dataset(name: str, result: DatasetResult, folder: Path) -> Section:
    blocks: list[Table | Row | Figure] = []
    if (folder / CURVES).is_file():
        blocks.append(Figure(folder / CURVES, caption="Means over all categories, for boxes and masks."))
    for kind, title in _KINDS.items():
        figures = [
            Figure(folder / PICTURES / shown["file"], caption=shown["caption"])
            for shown in result.pictures.get(kind, [])
        ]
        rows = [figures[start : start + _FIGURES_PER_ROW] for start in range(0, len(figures), _FIGURES_PER_ROW)]
        blocks += [Row(row, title="" if place else title) for place, row in enumerate(rows)]
    text = []
    if result.pictures:
        text.append(
            "Ground truth left, prediction right: of each image as many of the best detections as it has objects. "
            "Best and worst go by the AP50 of the image's own boxes, all categories taken for one."
        )
    titles = {**zero_shot().titles, SUPERVISED: "COCO, 80 classes"}
    return Section(titles.get(name, name), text, blocks)
