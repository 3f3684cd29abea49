import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from cutler_pl.commands import evaluate
from cutler_pl.commands.values import check_values
from cutler_pl.datasets.catalog import ZERO_SHOT
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.runtime.config_tree import config_dir

CONFIG_DIR = config_dir()
ROOT = CONFIG_DIR.parent


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("evaluate", overrides=list(overrides))


def checked_run(cfg: DictConfig) -> Path:
    """As `launch` does."""
    check_values("evaluate", cfg)
    return evaluate.run(cfg)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Ground truth of two objects of two classes, and detections of the first."""
    boxes = [[2.0, 3.0, 20.0, 12.0], [5.0, 5.0, 40.0, 50.0]]
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for n, (b, c) in enumerate(zip(boxes, (1, 7), strict=True), 1)
        ],
    }
    folder = tmp_path / "my files, (1)"
    folder.mkdir()
    (folder / "truth.json").write_text(json.dumps(truth))
    found = [{"image_id": 1, "category_id": 1, "bbox": boxes[0], "score": 0.9}]
    (folder / "found.json").write_text(json.dumps(found))
    return folder / "truth.json", folder / "found.json"


def settings(files: tuple[Path, Path], output: Path, *more: str) -> DictConfig:
    return config(f"annotations='{files[0]}'", f"predictions='{files[1]}'", f"output='{output}'", *more)


def test_write_reports_and_print_table(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = evaluate.run(settings(files, tmp_path / "out", "eval=agnostic_boxes", "dataset=voc"))
    assert written == tmp_path / "out" / "results.json"
    results = json.loads(written.read_text())
    assert results["voc"]["bbox"]["AR100"] == 50.0
    printed = capsys.readouterr().out
    assert [line.split()[:2] for line in printed.splitlines() if " box " in line] == [["voc", "box"]]
    assert "50.0" in printed
    assert "36.9" in (tmp_path / "out" / "report.md").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.yaml", "run.json", "results.json", "report.md", "report.csv", "report.tex", "index.html",
        "voc", ".lock",
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "out" / "voc").iterdir()} == {
        "result.json", "rejected.txt", "precision_recall.svg",
    }  # fmt: skip
    assert "precision_recall.svg" in (tmp_path / "out" / "index.html").read_text()


def test_each_category_is_measured_where_asked_for(files: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate.run(settings(files, tmp_path, "eval=coco_supervised", "eval.iou_types=[bbox]"))
    by_name = json.loads((tmp_path / "categories.json").read_text())["truth"]["bbox"]
    assert {name: metrics["AP"] for name, metrics in by_name.items()} == {"cat": 100.0, "dog": 0.0}
    assert json.loads((tmp_path / "results.json").read_text())["truth"]["bbox"]["AP"] == 50.0


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["predictions=null"], "found neither"),
        (["checkpoint=a.ckpt"], "found both"),
        (["predictions=null", "checkpoint=a.ckpt"], "checkpoint= needs images=<folder>"),
        (["eval.ap_max_dets=50"], "eval.ap_max_dets=50 must be one of"),
        (["on_error=ignore"], "on_error=ignore: expected raise or skip"),
        (["num_examples=-1"], "num_examples=-1: expected an integer from 0"),
        (["annotations=null"], "give annotations=<json> of your own data, or datasets of the catalogue"),
        (["eval=zero_shot_11"], "annotations= measures one file, but eval.datasets names 11"),
        (["annotations=null", "eval.datasets=[coco,voc]"], "one file, but there are 2 datasets"),
        (["annotations=null", "eval.datasets=[cocoo]"], "there is no dataset 'cocoo'"),
        (["predictions=."], "is a folder; with annotations= give one file"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    files: tuple[Path, Path], tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked_run(settings(files, tmp_path, *overrides))


def test_missing_files_are_named_with_their_setting(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no such file: gone\.json \(predictions=\)"):
        evaluate.run(settings(files, tmp_path, "predictions=gone.json"))
    with pytest.raises(DatasetNotFoundError, match=r"no such folder: gone \(images=\)"):
        evaluate.run(settings(files, tmp_path, "predictions=null", "checkpoint=a.ckpt", "images=gone"))


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONFIG_DIR / "eval").glob("*.yaml")))
def test_every_option_composes(option: str) -> None:
    cfg = config("annotations=a.json", f"eval={option}")
    assert set(cfg.eval) == {"datasets", "class_agnostic", "iou_types", "max_dets", "ap_max_dets", "per_category"}
    datasets = {"coco_supervised": ["coco_80"], "zero_shot_11": list(ZERO_SHOT)}
    assert cfg.eval.datasets == datasets.get(option)
    assert cfg.num_classes == (80 if option == "coco_supervised" else None)


def test_the_command_leaves_nothing_outside_its_output_folder(files: tuple[Path, Path], tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "eval=agnostic_boxes", "output=out"]
    command += [f"annotations='{files[0]}'", f"predictions='{files[1]}'"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=120)
    assert " box " in done.stdout
    assert [path.name for path in here.iterdir()] == ["out"]
    assert not list((here / "out").glob(".hydra"))


def test_invalid_predictions_leave_no_results_behind(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text("not json")
    with pytest.raises(AnnotationError, match=r"found\.json: not a JSON file"):
        evaluate.run(settings(files, tmp_path / "out", "eval=agnostic_boxes"))
    assert not (tmp_path / "out").exists()


def test_missing_masks_name_the_setting(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"has no mask; evaluate boxes only"):
        evaluate.run(settings(files, tmp_path / "out"))


@pytest.mark.golden
def test_the_original_s_numbers_are_written(golden_dir: Path, tmp_path: Path) -> None:
    folder = golden_dir / "detector"
    given = (f"annotations={folder}/eval_gt.json", f"predictions={folder}/eval_pred.json", f"output='{tmp_path}'")
    results = json.loads(evaluate.run(config(*given, "dataset=golden")).read_text())["golden"]
    golden = json.loads((folder / "eval_results.json").read_text())["default_fast_coco_eval"]
    for iou_type, metrics in golden["results"].items():
        for name, value in metrics.items():
            assert results[iou_type][name] == pytest.approx(value, abs=1e-9)
        recall = [results[iou_type][name] for name in ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")]
        assert recall == pytest.approx([100 * value for value in golden["stats12"][iou_type][6:]], abs=1e-9)
