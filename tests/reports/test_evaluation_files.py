import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.evaluation import NOT_MEASURED
from cutler_pl.evaluation.published import zero_shot
from cutler_pl.reports.evaluation_files import to_csv, to_markdown, to_tex, write_report
from cutler_pl.reports.evaluation_tables import Report

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


def metrics(ap50: float = 22.04, ar100: float = 30.0, **others: float) -> dict[str, Any]:
    return dict.fromkeys(NAMES, 10.0) | {"AP50": ap50, "AR100": ar100} | others


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text."""
    found = []
    for part in text.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [line.strip("|").replace("\\|", "\0").split("|") for line in lines]
        found += [[[cell.strip().replace("\0", "|") for cell in line] for line in cells]] if lines else []
    return found


def values(report: Report) -> dict[tuple[str, str, str, str], str]:
    lines = csv.DictReader(io.StringIO(to_csv(report)))
    return {(line["method"], line["dataset"], line["of"], line["metric"]): line["value"] for line in lines}


def test_csv_leaves_unmeasured_empty() -> None:
    report = Report({"mine": {"segm": metrics(APl=NOT_MEASURED)}})
    assert values(report)["this run", "mine", "mask", "APl"] == ""


def test_csv_published_own_and_differences() -> None:
    found = values(Report({"voc": {"bbox": metrics(30.0)}}, method="us"))
    assert found["CutLER, Mask R-CNN", "voc", "box", "AP50"] == "36.6"
    assert float(found["us", "voc", "box", "AP50"]) == 30.0
    assert float(found["us − CutLER, Mask R-CNN", "voc", "box", "AP50"]) == pytest.approx(-6.6)
    assert {method for method, *_ in found} == {
        "us", *zero_shot().methods, *(f"us − {method}" for method in zero_shot().methods)
    }  # fmt: skip


def test_csv_semi_supervised_same_share() -> None:
    results = {"coco_80": {"bbox": metrics(AP=31.0), "segm": metrics(AP=27.5)}}
    found = values(Report(results, method="us", categories={"coco_80": {}}, label_percent=10))
    assert found["CutLER, 10 % of labels", "coco_80", "mask", "AP"] == "28.1"
    assert float(found["us − CutLER, 10 % of labels", "coco_80", "mask", "AP"]) == pytest.approx(-0.6)
    assert not any("20 %" in method for method, *_ in found)


def test_markdown_tables_are_rectangular() -> None:
    report = Report(
        {"coco": {"bbox": metrics()}, "a|b": {"bbox": metrics()}},
        missing={"kitti": "no file; python scripts/prepare_dataset.py name=kitti"},
        counts={"coco": {"images": 5}},
    )
    found = tables(to_markdown(report))
    assert len(found) == 5
    assert all(len({len(row) for row in table}) == 1 for table in found)
    assert found[0][5][:2] == ["**this run**", "**22.0 | 30.0**"]
    assert found[1][3][:2] == ["a|b", "box"]
    assert found[-1][2] == ["kitti", "no file; python scripts/prepare_dataset.py name=kitti"]


def test_tex_escaped_and_rectangular() -> None:
    report = Report({"coco": {"bbox": metrics()}}, method=r"my_run {50%} \x", missing={"kitti": "not there"})
    text = to_tex(report)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    assert r"my\_run \{50\%\} \textbackslash{}x" in text
    assert r"\textbf{22.0 $\vert$ 30.0}" in text
    assert r"+0.1 $\vert$ $-$2.7" in text
    for part in text.split(r"\begin{tabular}")[1:]:
        columns = part[part.index("{") + 1 : part.index("}")]
        rows = [line for line in part.split(r"\end{tabular}")[0].splitlines() if line.endswith(r"\\")]
        assert {row.replace(r"\&", "").count("&") for row in rows} == {len(columns) - 1}


def test_files_agree(tmp_path: Path) -> None:
    results = {"coco": {"bbox": metrics(), "segm": metrics(5.0)}, "a|b": {"bbox": metrics(1.25)}}
    report = Report(results, method="us", categories={"coco": {"bbox": {"cat": metrics()}}})
    write_report(tmp_path / "out", report)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json", "categories.json", "report.md", "report.csv", "report.tex",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert json.loads((tmp_path / "out" / "categories.json").read_text())["coco"]["bbox"]["cat"]["AP50"] == 22.04
    lines = csv.DictReader(io.StringIO((tmp_path / "out" / "report.csv").read_text()))
    ours = {(li["dataset"], li["of"], li["metric"]): float(li["value"]) for li in lines if li["method"] == "us"}
    assert ours["coco", "mask", "AP50"] == 5.0
    assert len(ours) == 3 * len(NAMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuse_nan_and_infinity(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, Report({"coco": {"bbox": metrics(value)}}))
    assert not (tmp_path / "results.json").exists()
