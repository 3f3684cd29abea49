import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from cutler_pl.commands import evaluate
from cutler_pl.commands.evaluate import predict
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.errors import ConfigError, TooManyFailuresError
from cutler_pl.models import Detector, DetectorMetadata, build_detector

from .evaluated_datasets import BOX, MASK, config, make_dataset, read


class Predicting:
    """Stands in for detector and trainer: what was asked of them, and predictions right in the first image."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, names: tuple[str, ...] = ("fg",), assumed: bool = False
    ) -> None:
        self.assumed = assumed
        self.asked: list[tuple[str, int | None, list[int]]] = []
        self.most: int | None = None
        self.names = names
        monkeypatch.setattr(predict, "load_for_prediction", self.load)
        monkeypatch.setattr(predict, "write_predictions", self.write)

    def load(self, cfg: DictConfig, *, max_detections: int | None) -> tuple[Detector, DetectorMetadata]:
        self.most = max_detections
        return any_detector(), DetectorMetadata(tuple(range(1, len(self.names) + 1)), self.names, self.assumed)

    def write(
        self, cfg: DictConfig, model: Detector, datamodule: Any, results: Path, *, category_ids: Sequence[int]
    ) -> dict[int, Any]:
        self.asked.append((results.parent.name, self.most, list(category_ids)))
        found = {"image_id": 1, "category_id": category_ids[-1], "bbox": BOX, "score": 0.9}
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps([found | {"segmentation": MASK}]))
        results.with_name("failures.jsonl").write_text('{"file": "2.jpg", "reason": "broken"}\n')
        return {}


@cache
def any_detector() -> Detector:
    with torch.device("meta"):
        return build_detector("mask_rcnn_r50_fpn", num_classes=1)


def test_predict_once_per_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco", "lvis"):
        make_dataset(tmp_path, name)
    (tmp_path / "a.ckpt").write_bytes(b"weights")
    predicting = Predicting(monkeypatch)
    given = (f"checkpoint='{tmp_path / 'a.ckpt'}'", "eval.datasets=[coco,lvis]", "num_examples=0")
    evaluate.run(config(tmp_path, *given))
    assert predicting.asked == [("coco", None, [1]), ("lvis", 300, [1])]
    assert read(tmp_path, "results.json")["lvis"]["bbox"]["AR300"] == 50.0
    assert read(tmp_path, "coco/result.json")["result"]["counts"]["unreadable_images"] == 1
    evaluate.run(config(tmp_path, *given))
    assert len(predicting.asked) == 2
    (tmp_path / "out" / "lvis" / "finished.json").unlink()  # as if it had been killed in between
    evaluate.run(config(tmp_path, *given))
    assert [name for name, *_ in predicting.asked[2:]] == ["lvis"]
    (tmp_path / "a.ckpt").write_bytes(b"better weights")
    evaluate.run(config(tmp_path, *given))
    assert [name for name, *_ in predicting.asked[3:]] == ["coco", "lvis"]


def test_default_output_depends_on_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `output=`, the same checkpoint finds its folder again."""
    make_dataset(tmp_path, "kitti")
    (tmp_path / "a.ckpt").write_bytes(b"weights")
    Predicting(monkeypatch)
    given = (f"checkpoint='{tmp_path / 'a.ckpt'}'", "eval.datasets=[kitti]", "output=null", "num_examples=0")
    first = evaluate.run(config(tmp_path, *given))
    assert first.parent.parent == tmp_path / "outputs" / "evaluate"
    assert evaluate.run(config(tmp_path, *given)) == first
    (tmp_path / "a.ckpt").write_bytes(b"better weights")
    assert evaluate.run(config(tmp_path, *given)) != first


def test_classes_are_matched_by_name_and_others_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path, "coco_80", names=("cat", "dog"))
    given = ("eval=coco_supervised", "checkpoint=released.pth", "num_examples=0")
    for names, assumed, expected in ((("dog", "cat"), False, [6, 3]), (("1", "2"), True, [3, 6])):
        predicting = Predicting(monkeypatch, names=names, assumed=assumed)
        evaluate.run(config(tmp_path, *given, f"output='{tmp_path / ''.join(names)}'"))
        assert predicting.asked[0][2] == expected
    Predicting(monkeypatch, names=("dog", "cow"))
    with pytest.raises(ConfigError, match=r"2 classes are not those of the annotations \(2\): cow; .*eval=agnostic"):
        evaluate.run(config(tmp_path, *given))
    Predicting(monkeypatch, names=("1", "2", "3"), assumed=True)
    with pytest.raises(ConfigError, match="3 classes"):
        evaluate.run(config(tmp_path, *given))


def test_report_empty_image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("coco", "kitti"):
        make_dataset(tmp_path, name)
    (tmp_path / "sets" / CATALOG["kitti"].images / "1.jpg").unlink()
    Predicting(monkeypatch)
    with pytest.raises(TooManyFailuresError, match=r"kitti: no image file .*1\.jpg"):
        evaluate.run(config(tmp_path, "checkpoint=released.pth", "eval.datasets=[coco,kitti]", "num_examples=0"))
    assert list(read(tmp_path, "results.json")) == ["coco"]
