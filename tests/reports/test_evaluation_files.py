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


def measures(ap50: float = 22.04, ar100: float = 30.0, **others: float) -> dict[str, Any]:
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
    return {(line["method"], line["dataset"], line["of"], line["measure"]): line["value"] for line in lines}


def test_what_was_not_measured_is_empty_in_csv() -> None:
    report = Report({"mine": {"segm": measures(APl=NOT_MEASURED)}})
    assert values(report)["this run", "mine", "mask", "APl"] == ""


def test_csv_holds_published_numbers_this_run_and_the_differences() -> None:
    found = values(Report({"voc": {"bbox": measures(30.0)}}, method="us"))
    assert found["CutLER, Mask R-CNN", "voc", "box", "AP50"] == "36.6"
    assert float(found["us", "voc", "box", "AP50"]) == 30.0
    assert float(found["us − CutLER, Mask R-CNN", "voc", "box", "AP50"]) == pytest.approx(-6.6)
    assert {method for method, *_ in found} == {
        "us", *zero_shot().methods, *(f"us − {method}" for method in zero_shot().methods)
    }  # fmt: skip


def test_csv_holds_the_semi_supervised_numbers_of_the_same_share_of_labels() -> None:
    results = {"coco_80": {"bbox": measures(AP=31.0), "segm": measures(AP=27.5)}}
    found = values(Report(results, method="us", categories={"coco_80": {}}, labels=10))
    assert found["CutLER, 10 % of labels", "coco_80", "mask", "AP"] == "28.1"
    assert float(found["us − CutLER, 10 % of labels", "coco_80", "mask", "AP"]) == pytest.approx(-0.6)
    assert not any("20 %" in method for method, *_ in found)


def test_markdown_tables_are_rectangular_and_the_run_stands_out() -> None:
    report = Report(
        {"coco": {"bbox": measures()}, "a|b": {"bbox": measures()}},
        missing={"kitti": "no file; python scripts/prepare_dataset.py name=kitti"},
        counts={"coco": {"images": 5}},
    )
    found = tables(to_markdown(report))
    assert len(found) == 5
    assert all(len({len(row) for row in table}) == 1 for table in found)
    assert found[0][5][:2] == ["**this run**", "**22.0 | 30.0**"]
    assert found[1][3][:2] == ["a|b", "box"]
    assert found[-1][2] == ["kitti", "no file; python scripts/prepare_dataset.py name=kitti"]


def test_tex_is_escaped_and_every_row_has_all_its_cells() -> None:
    report = Report({"coco": {"bbox": measures()}}, method=r"my_run {50%} \x", missing={"kitti": "not there"})
    text = to_tex(report)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    assert r"my\_run \{50\%\} \textbackslash{}x" in text
    assert r"\textbf{22.0 $\vert$ 30.0}" in text
    assert r"+0.1 $\vert$ $-$2.7" in text
    for part in text.split(r"\begin{tabular}")[1:]:
        columns = part[part.index("{") + 1 : part.index("}")]
        rows = [line for line in part.split(r"\end{tabular}")[0].splitlines() if line.endswith(r"\\")]
        assert {row.replace(r"\&", "").count("&") for row in rows} == {len(columns) - 1}


def test_a_hyphen_inside_a_word_is_no_minus() -> None:
    assert tex_text("model-zoo-1, -1.0") == "model-zoo-1, $-$1.0"


def test_the_files_agree(tmp_path: Path) -> None:
    results = {"coco": {"bbox": measures(), "segm": measures(5.0)}, "a|b": {"bbox": measures(1.25)}}
    report = Report(results, method="us", categories={"coco": {"bbox": {"cat": measures()}}})
    write_report(tmp_path / "out", report)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json", "categories.json", "report.md", "report.csv", "report.tex",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert json.loads((tmp_path / "out" / "categories.json").read_text())["coco"]["bbox"]["cat"]["AP50"] == 22.04
    lines = csv.DictReader(io.StringIO((tmp_path / "out" / "report.csv").read_text()))
    ours = {(li["dataset"], li["of"], li["measure"]): float(li["value"]) for li in lines if li["method"] == "us"}
    assert ours["coco", "mask", "AP50"] == 5.0
    assert len(ours) == 3 * len(NAMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, Report({"coco": {"bbox": measures(value)}}))
    assert not (tmp_path / "results.json").exists()
