from typing import Any

from cutler_pl.evaluation import NOT_MEASURED
from cutler_pl.evaluation.published import semi_supervised, zero_shot
from cutler_pl.reports.evaluation_tables import (
    Report,
    all_tables,
    category_tables,
    counts_table,
    metrics_table,
    published_table,
    semi_supervised_table,
    sizes_table,
)

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")


def metrics(ap50: float = 22.04, ar100: float = 30.0, **others: float) -> dict[str, Any]:
    return dict.fromkeys(NAMES, 10.0) | {"AP50": ap50, "AR100": ar100} | others


def by_class(ap: float = 31.0) -> dict[str, Any]:
    return {kind: {"cat": metrics(AP=ap), "dog": metrics(AP=ap - 1)} for kind in ("bbox", "segm")}


def test_published_numbers() -> None:
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


def test_own_row_and_differences() -> None:
    report = Report({"voc": {"bbox": metrics(30.0)}, "coco": {"bbox": metrics()}}, method="us")
    table = published_table(report)
    assert table.header == ["method", "COCO", "VOC"]
    methods = list(zero_shot().methods)
    assert methods == ["Previous best", "CutLER, Mask R-CNN", "CutLER, Cascade Mask R-CNN"]
    assert [row[0] for row in table.rows] == [*methods, "us", *(f"us − {method}" for method in methods)]
    assert table.rows[2][1:] == ["21.9 | 32.7", "36.9 | 44.3"]
    assert table.rows[3][1:] == ["22.0 | 30.0", "30.0 | 30.0"]
    assert table.rows[6][1:] == ["+0.1 | -2.7", "-6.9 | -14.3"]
    assert table.bold == {3}


def test_missing_dataset_keeps_column() -> None:
    table = published_table(Report({"coco": {"bbox": metrics()}}, missing={"kitti": "not there", "mine": "too"}))
    assert table.header == ["method", "COCO", "KITTI"]
    assert table.rows[0][2] == "7.7 | 7.1"
    assert [row[2] for row in table.rows[3:]] == ["–"] * 4


def test_no_published_part() -> None:
    assert published_table(Report({"my images": {"bbox": metrics()}})).rows == []
    assert published_table(Report({"coco": {"segm": metrics()}})).rows == []
    titles = [table.title for table in all_tables(Report({"my images": {"bbox": metrics()}}))]
    assert titles == ["All metrics", "By size of the objects"]


def test_compare_largest_recall() -> None:
    few = {name: value for name, value in metrics().items() if name != "AR100"} | {"AR30": 12.0, "ARs": 50.0}
    assert published_table(Report({"coco": {"bbox": few}})).rows[3][1] == "22.0 | 12.0"


def test_semi_supervised_column() -> None:
    results = {"coco_80": {"bbox": metrics(AP=31.0), "segm": metrics(AP=27.5)}}
    categories = {"coco_80": by_class()}
    table = semi_supervised_table(Report(results, method="us", categories=categories, label_percent=10))
    assert table.header[4] == "10 %"
    assert len(table.header) == 12
    assert table.rows[1][4] == "32.2 | 28.1"
    assert table.rows[2] == ["us", "–", "–", "–", "31.0 | 27.5", *["–"] * 7]
    assert [row[4] for row in table.rows[3:]] == ["+4.5 | +4.5", "-1.2 | -0.6"]
    for labels, heading in ((None, "share not given"), (3, "3 %")):
        table = semi_supervised_table(Report(results, categories=categories, label_percent=labels))
        assert table.header[-1] == heading
        assert [row[-1] for row in table.rows] == ["–", "–", "31.0 | 27.5", "–", "–"]
    assert semi_supervised_table(Report(results)).rows == []  # measured as one class


def test_unmeasured_is_dash() -> None:
    table = metrics_table(Report({"mine": {"segm": metrics(APl=NOT_MEASURED)}}))
    assert dict(zip(table.header, table.rows[0], strict=True)) | {"APl": "–", "of": "mask", "AP50": "22.0"} == dict(
        zip(table.header, table.rows[0], strict=True)
    )


def test_sizes_counts_categories() -> None:
    sizes = {"ARs": 1.0, "ARm": 2.0, "ARl": 3.0}
    report = Report(
        {"mine": {"bbox": metrics(**sizes)}},
        counts={"mine": {"images": 5, "objects_s": 7, "objects_m": 8, "objects_l": 9, "rejected_detections": 2}},
        categories={"mine": {"bbox": {"cat": metrics(40.0), "dog": metrics(AP=NOT_MEASURED)}}},
    )
    assert sizes_table(report).rows == [["mine", "box", "7", "8", "9", "10.0", "10.0", "10.0", "1.0", "2.0", "3.0"]]
    assert counts_table(report).header == ["dataset", "images", "rejected detections"]
    assert counts_table(report).rows == [["mine", "5", "2"]]
    (table,) = category_tables(report)
    assert table.header == ["category", "box AP", "box AP50"]
    assert table.rows == [["cat", "10.0", "40.0"], ["dog", "–", "22.0"]]
