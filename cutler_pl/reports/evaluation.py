"""The page of an evaluation: tables beside the published numbers, then curves and pictures of each dataset."""

import json
from collections.abc import Mapping
from pathlib import Path

from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.evaluation.published import zero_shot
from cutler_pl.reports.html_report import Page, Picture, Row, Section, Table, write_page
from cutler_pl.reports.tables import SUPERVISED, Report, TextTable, all_tables, missing_table

PAGE = "index.html"
CURVES = "precision_recall.svg"
PICTURES = "pictures"
_IN_A_ROW = 3
_KINDS = {"best": "Best", "worst": "Worst", "random": "Others, by chance"}


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
        report: What the tables tell.
        results: What each dataset came to.
        folders: Folder of each dataset's curves and pictures.
        command: The command line that repeats the evaluation.
    """
    missing = missing_table(report)
    tables = [table for table in all_tables(report) if table != missing]
    sections = [Section(table.title, table.notes, (_table(table),)) for table in tables]
    sections += [_dataset(name, result, folders[name]) for name, result in results.items()]
    if report.missing:
        sections.append(Section(missing.title, [f"`{name}`: {why}" for name, why in report.missing.items()]))
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    measured = ", ".join(results)
    page = Page(
        title=f"Evaluation of {report.method}",
        intro=(f"Detections compared with ground truth by COCO's rules: {measured}.",),
        notice=f"Not measured: {', '.join(report.missing)}. The last part says why." if report.missing else "",
        sections=sections,
        commands=() if command is None else (command,),
        metadata=run,
    )
    write_page(output / PAGE, page)


def _dataset(name: str, result: DatasetResult, folder: Path) -> Section:
    blocks: list[Table | Row | Picture] = []
    if (folder / CURVES).is_file():
        blocks.append(Picture(folder / CURVES, caption="Means over all categories, by what is compared."))
    for kind, title in _KINDS.items():
        pictures = [
            Picture(folder / PICTURES / shown["file"], caption=shown["caption"])
            for shown in result.pictures.get(kind, [])
        ]
        rows = [pictures[start : start + _IN_A_ROW] for start in range(0, len(pictures), _IN_A_ROW)]
        blocks += [Row(row, title="" if place else title) for place, row in enumerate(rows)]
    text = []
    if result.pictures:
        text.append(
            "Ground truth left, prediction right: of each image as many of the best detections as it has objects. "
            "Best and worst go by the AP50 of the image's own boxes, all categories taken for one."
        )
    titles = {**zero_shot().titles, SUPERVISED: "COCO, 80 classes"}
    return Section(titles.get(name, name), text, blocks)


def _table(table: TextTable) -> Table:
    return Table(table.header, table.rows, strong=table.strong)
