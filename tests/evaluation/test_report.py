import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.evaluation import NOT_MEASURED, report, write_report
from cutler_pl.evaluation.published import semi_supervised, zero_shot

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


def measures(ap50: float = 22.04, ar100: float = 30.0, **others: float) -> dict[str, Any]:
    return dict.fromkeys(NAMES, 10.0) | {"AP50": ap50, "AR100": ar100} | others


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip().replace("\\|", "|") for cell in line.strip("|").replace("\\|", "\0").split("|")] for line in lines
    ]


def test_published_numbers_are_those_of_the_original_s_tables() -> None:
    tables = zero_shot()
    assert len(tables.titles) == 11
    assert all(set(row) == set(tables.titles) for row in tables.methods.values())
    assert tables.methods["CutLER, Cascade Mask R-CNN"]["coco"] == (21.9, 32.7)
    assert tables.methods["CutLER, Mask R-CNN"]["openimages"] == (17.1, 26.4)
    assert tables.methods["Previous best"]["kitti"] == (7.7, 7.1)
    labels = semi_supervised().methods
    assert list(labels["MoCo-v2"]) == list(labels["CutLER"]) == [1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100]
    assert labels["CutLER"][10] == (32.2, 28.1)
    assert labels["MoCo-v2"][100] == (42.8, 37.0)


def test_this_run_stands_beside_the_published_numbers_with_its_difference() -> None:
    header, rows = report.published_rows({"voc": {"bbox": measures(30.0)}, "coco": {"bbox": measures()}}, method="us")
    assert header == ["method", "COCO", "VOC"]
    assert [row[0] for row in rows] == [*zero_shot().methods, "**us**", f"us − {report.REFERENCE}"]
    assert rows[2][1:] == ["21.9 | 32.7", "36.9 | 44.3"]
    assert rows[3][1:] == ["22.0 | 30.0", "30.0 | 30.0"]
    assert rows[4][1:] == ["+0.1 | -2.7", "-6.9 | -14.3"]


def test_what_was_not_measured_is_a_dash_in_tables_and_empty_in_csv() -> None:
    results = {"mine": {"segm": measures(APl=NOT_MEASURED)}}
    header, rows = report.measure_rows(results)
    assert dict(zip(header, rows[0], strict=True)) | {"APl": "–", "of": "mask", "AP50": "22.0"} == dict(
        zip(header, rows[0], strict=True)
    )
    lines = list(csv.DictReader(io.StringIO(report.to_csv(results))))
    assert [line["value"] for line in lines if line["measure"] == "APl"] == [""]


def test_unknown_datasets_have_no_published_part() -> None:
    assert "published" not in report.to_markdown({"my photos": {"bbox": measures()}})
    assert "published" in report.to_markdown({"coco": {"bbox": measures()}})
    assert "published" not in report.to_markdown({"coco": {"segm": measures()}})


def test_without_recall_of_100_the_one_with_most_detections_is_compared() -> None:
    few = {name: value for name, value in measures().items() if name != "AR100"} | {"AR30": 12.0, "ARs": 50.0}
    _, rows = report.published_rows({"coco": {"bbox": few}}, method="us")
    assert rows[3][1] == "22.0 | 12.0"


def test_labels_table_leaves_other_percentages_empty() -> None:
    results = {10: {"bbox": measures() | {"AP": 31.0}, "segm": measures() | {"AP": 27.5}}}
    header, rows = report.semi_supervised_rows(results, method="us")
    assert header[4] == "10 %"
    assert rows[-1] == ["**us**", "", "", "", "31.0 | 27.5", *[""] * 7]


def test_the_three_files_agree(tmp_path: Path) -> None:
    results = {"coco": {"bbox": measures(), "segm": measures(5.0)}, "a|b": {"bbox": measures(1.25)}}
    write_report(tmp_path / "out", results, method="us")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "report.csv").read_text())))
    ours = {
        (line["dataset"], line["of"], line["measure"]): float(line["value"]) for line in lines if line["method"] == "us"
    }
    assert ours["coco", "mask", "AP50"] == 5.0
    assert len(ours) == 3 * len(NAMES)
    assert {line["method"] for line in lines} == {"us", *zero_shot().methods}
    rows = table((tmp_path / "out" / "report.md").read_text())
    assert rows[4][:4] == ["a\0b", "box", "10.0", "1.2"]
    assert len({len(row) for row in rows[:5]}) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, {"coco": {"bbox": measures(value)}})
    assert not (tmp_path / "results.json").exists()
