from pathlib import Path

import pytest

from cutler_pl.datasets.catalog import CATALOG, resolve
from cutler_pl.errors import ConfigError, DatasetNotFoundError


def test_catalog_holds_evaluation_and_training_sets() -> None:
    evaluation = ["coco", "coco20k", "lvis", "voc", "uvo", "clipart", "watercolor", "comic", "kitti", "objects365"]
    evaluation += ["openimages"]
    training = ["imagenet_maskcut", "imagenet_r1", "imagenet_r2", "imagenet_r3", "coco_100"]
    training += [f"coco_semi_{percent}" for percent in (1, 2, 5, 10, 20, 30, 40, 50, 60, 80)]
    assert set(CATALOG) == {*evaluation, *training, "coco_80"}
    assert [name for name in evaluation if CATALOG[name].masks] == ["coco", "coco20k", "lvis", "uvo"]
    assert CATALOG["lvis"].max_dets == 300


def test_a_dataset_that_is_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "coco/val2017").mkdir(parents=True)
    (tmp_path / "coco/annotations").mkdir()
    (tmp_path / "coco/annotations/instances_val2017.json").write_text("{}")
    found = resolve("coco_80", tmp_path)
    assert found.images == tmp_path / "coco/val2017"
    assert found.annotations.is_file()
    assert not found.info.class_agnostic
    with pytest.raises(DatasetNotFoundError, match=r"coco_cls_agnostic_instances_val2017\.json.*paths\.datasets"):
        resolve("coco", tmp_path)
    (tmp_path / "coco/val2017").rmdir()
    with pytest.raises(DatasetNotFoundError, match=r"no image folder .*val2017"):
        resolve("coco_80", tmp_path)


def test_unknown_name_lists_names() -> None:
    with pytest.raises(ConfigError, match=r"'imagenet'.*imagenet_maskcut"):
        resolve("imagenet", "datasets")
