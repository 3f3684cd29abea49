"""Several datasets of the catalogue in one command, from predictions that exist or from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.commands import evaluate
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.errors import ConfigError, DatasetNotFoundError, OutputLockedError, TooManyFailuresError
from cutler_pl.evaluation.published import zero_shot
from cutler_pl.runtime.locks import file_lock

from .evaluated_datasets import config, make_dataset, plan, read, write_found


def test_each_dataset_is_measured_as_the_recipe_says(tmp_path: Path) -> None:
    for name in ("coco", "lvis", "voc", "coco_80"):
        make_dataset(tmp_path, name)
    tasks = plan(
        tmp_path, "checkpoint=a.ckpt", "eval.datasets=[voc,lvis,coco,coco_80]", "eval.class_agnostic=false"
    ).tasks
    assert [task.name for task in tasks] == ["voc", "lvis", "coco", "coco_80"]
    assert [task.params.iou_types for task in tasks] == [("bbox",), *[("bbox", "segm")] * 3]
    assert [task.params.max_dets for task in tasks] == [(1, 10, 100), (1, 10, 100, 300), (1, 10, 100), (1, 10, 100)]
    assert [(task.ap_max_dets, task.max_detections) for task in tasks] == [
        (None, None),
        (100, 300),
        *[(None, None)] * 2,
    ]
    assert [task.params.class_agnostic for task in tasks] == [True, True, True, False]
    (task,) = plan(tmp_path, "checkpoint=a.ckpt", "eval.datasets=coco_80", "eval.iou_types=[segm]").tasks
    assert (task.params.class_agnostic, task.params.iou_types) == (True, ("segm",))
    with pytest.raises(ConfigError, match="'voc' has no masks"):
        plan(tmp_path, "checkpoint=a.ckpt", "eval.datasets=[voc]", "eval.iou_types=[segm]")


def test_report_missing_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are measured."""
    for name in ("coco", "voc", "kitti"):
        write_found(tmp_path, name, make_dataset(tmp_path, name))
    (tmp_path / "found" / "kitti.json").unlink()
    evaluate.run(config(tmp_path, "eval=zero_shot_11", f"predictions='{tmp_path / 'found'}'", "num_examples=1"))
    results = read(tmp_path, "results.json")
    assert list(results) == ["coco", "voc"]
    assert (results["coco"]["segm"]["AR100"], list(results["voc"])) == (50.0, ["bbox"])
    report = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "index.html").read_text()
    for text in (report, page, capsys.readouterr().out):
        assert "cutler prepare_dataset name=clipart root=" in text
        assert "clipart/annotations/traintest_cls_agnostic.json" in text
        assert "no predictions kitti.json" in text
    assert all(title in report for title in zero_shot().titles.values())
    assert (tmp_path / "out" / "coco" / "examples" / "best_0.jpg").is_file()
    assert "1.jpg: 1 of 1 object found" in page


def test_none_of_the_datasets_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"none of the 2 datasets.*image folder.*annotations=<json>"):
        plan(tmp_path, "checkpoint=a.ckpt", "eval.datasets=[coco,voc]")


def test_finished_datasets_are_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco = make_dataset(tmp_path, "coco")
    write_found(tmp_path, "coco", coco)
    cfg = config(tmp_path, "eval.datasets=[coco]", f"predictions='{tmp_path / 'found'}'", "num_examples=0")
    evaluate.run(cfg)
    first = read(tmp_path, "coco/result.json")

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr("cutler_pl.commands.evaluate.measure.compare", fail)
        evaluate.run(cfg)
    assert read(tmp_path, "coco/result.json") == first
    assert read(tmp_path, "results.json")["coco"] == first["result"]["metrics"]
    write_found(tmp_path, "coco", coco, bbox=[0.0, 0.0, 3.0, 3.0])
    evaluate.run(cfg)
    assert read(tmp_path, "results.json")["coco"]["bbox"]["AP"] == 0.0


def test_one_invalid_dataset_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("coco", "kitti"):
        write_found(tmp_path, name, make_dataset(tmp_path, name))
    (tmp_path / "sets" / CATALOG["coco"].annotations).write_text("{}")
    with pytest.raises(TooManyFailuresError, match=r"1 of 2 datasets could not be measured \(coco: .*images"):
        evaluate.run(config(tmp_path, "eval.datasets=[coco,kitti]", f"predictions='{tmp_path / 'found'}'"))
    assert list(read(tmp_path, "results.json")) == ["kitti"]
    assert "coco" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"image_id": 77}, "unknown image 77"),
        ({"category_id": 77}, "unknown category 77"),
        ({"score": float("nan")}, "score nan"),
        ({"bbox": [100.0, 3.0, 5.0, 5.0]}, "outside its image"),
        ({"segmentation": {"size": [31, 40], "counts": [1240]}}, "31×40 pixels, but image 1 has 30×40"),
    ],
)
def test_invalid_detections_raise_or_are_listed(tmp_path: Path, error: dict[str, Any], sentence: str) -> None:
    coco = make_dataset(tmp_path, "coco_80")
    write_found(tmp_path, "coco_80", coco, **error)
    given = ("eval=coco_supervised", f"predictions='{tmp_path / 'found'}'", "num_examples=0")
    with pytest.raises(ValueError, match=f"detection 0 .*{sentence}.*on_error=skip"):
        evaluate.run(config(tmp_path, *given))
    evaluate.run(config(tmp_path, *given, "on_error=skip"))
    (line,) = (tmp_path / "out" / "coco_80" / "rejected.txt").read_text().splitlines()
    assert sentence in line
    counts = read(tmp_path, "coco_80/result.json")["result"]["counts"]
    assert (counts["detections"], counts["rejected_detections"]) == (0, 1)
    assert read(tmp_path, "results.json")["coco_80"]["bbox"]["AP"] == 0.0


def test_duplicate_image_ids_raise_or_are_listed(tmp_path: Path) -> None:
    coco = make_dataset(tmp_path, "coco")
    write_found(tmp_path, "coco", coco)
    coco["images"].append(coco["images"][0])
    (tmp_path / "sets" / CATALOG["coco"].annotations).write_text(json.dumps(coco))
    given = ("eval.datasets=[coco]", f"predictions='{tmp_path / 'found'}'", "num_examples=0")
    with pytest.raises(ValueError, match="image id 1 occurs more than once"):
        evaluate.run(config(tmp_path, *given))
    evaluate.run(config(tmp_path, *given, "on_error=skip"))
    assert read(tmp_path, "coco/result.json")["result"]["counts"]["rejected_annotations"] == 1
    assert read(tmp_path, "results.json")["coco"]["bbox"]["AR100"] == 50.0


def test_empty_annotations_and_empty_predictions(tmp_path: Path) -> None:
    """No metric is a wrong number."""
    coco = make_dataset(tmp_path, "coco")
    write_found(tmp_path, "coco", coco)
    (tmp_path / "found" / "kitti.json").write_text("[]")
    make_dataset(tmp_path, "kitti")
    (tmp_path / "sets" / CATALOG["coco"].annotations).write_text(json.dumps(coco | {"annotations": []}))
    evaluate.run(config(tmp_path, "eval.datasets=[coco,kitti]", f"predictions='{tmp_path / 'found'}'"))
    results = read(tmp_path, "results.json")
    assert set(results["coco"]["bbox"].values()) == {-1.0}
    assert (results["kitti"]["bbox"]["AP"], results["kitti"]["bbox"]["APl"]) == (0.0, -1.0)


def test_category_names_reach_all_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco = make_dataset(tmp_path, "coco_80", names=("cat", "dog"))
    write_found(tmp_path, "coco_80", coco)
    drawn: list[Any] = []
    from cutler_pl.visual import records

    draw = records.draw_instances
    monkeypatch.setattr(records, "draw_instances", lambda *a, **k: (drawn.append(k["labels"]), draw(*a, **k))[1])
    evaluate.run(config(tmp_path, "eval=coco_supervised", f"predictions='{tmp_path / 'found'}'", "label_percent=10"))
    assert ["dog"] in drawn
    by_name = read(tmp_path, "categories.json")["coco_80"]["segm"]
    assert {name: row["AP"] for name, row in by_name.items()} == {"cat": 0.0, "dog": 100.0}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "dog" in page
    assert "Learning from few labels" in page


def test_two_evaluations_do_not_share_a_folder(tmp_path: Path) -> None:
    write_found(tmp_path, "coco", make_dataset(tmp_path, "coco"))
    cfg = config(tmp_path, "eval.datasets=[coco]", f"predictions='{tmp_path / 'found'}'")
    with file_lock(tmp_path / "out", purpose="evaluate"), pytest.raises(OutputLockedError):
        evaluate.run(cfg)
