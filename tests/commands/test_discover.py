"""`cutler discover`: clusters, names, classes that trainings take, and bad inputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.datasets.kind_scenes import KindParams, write_kind_scenes
from cutler_pl.datasets.scenes import SceneParams

from .conftest import Command

SCENES = SceneParams(height=96, width=96, min_objects=1, max_objects=3, min_radius=0.15, max_radius=0.25)
ODD = 'a "b", <c>\nd'


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder with 8 images of 2 kinds and their annotations."""
    write_kind_scenes(tmp_path / "set" / "images", 8, SCENES, KindParams(count=2), seed=3)
    return tmp_path / "set"


def given(scenes: Path, output: Path, *more: str) -> tuple[str, ...]:
    places = (f"annotations={scenes}/annotations.json", f"images={scenes}/images", f"output={output}")
    return ("scripts/discover.py", *places, "maskcut=patch_descriptors", "maskcut.fixed_size=96", *more)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def named(path: Path, names: dict[int, str | None]) -> Path:
    path.write_text("clusters:\n" + "".join(f"  {number}: {json.dumps(name)}\n" for number, name in names.items()))
    return path


TRAIN = (
    "model=cascade_mask_rcnn_tiny", "model/loss=plain", "trainer=cpu", "trainer.max_steps=2", "callbacks=quickstart",
    "callbacks.precise_bn=null", "data.batch_size=2", "data.train_sizes=[64]", "data.num_workers=0",
)  # fmt: skip


def test_names_reach_page_and_file(command: Command, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = command(*given(scenes, out, "k=3", "num_examples=3"))
    assert found.code == 0, found.err
    page = (out / "index.html").read_text()
    assert "Cluster 3" in page
    assert len(list((out / "index_files").glob("*.jpg"))) == 3
    assert not (out / "annotations.json").exists()

    names = named(tmp_path / "names.yaml", {1: ODD, 2: None, 3: "beans"})
    done = command(*given(scenes, out, "k=3", "num_examples=3", f"names={names}"))
    assert done.code == 0, done.err
    page = (out / "index.html").read_text()
    assert "Cluster 2: left out" in page
    assert "&lt;c&gt;" in page
    assert "<c>" not in page
    before, after = read(scenes / "annotations.json"), read(out / "annotations.json")
    assert after["categories"] == [{"id": 1, "name": ODD}, {"id": 2, "name": "beans"}]
    assert after["images"] == before["images"]
    assert {one["category_id"] for one in after["annotations"]} == {1, 2}
    known = {one["id"]: one for one in before["annotations"]}
    assert 0 < len(after["annotations"]) < len(known)
    for one in after["annotations"]:
        assert {**one, "category_id": 0} == {**known[one["id"]], "category_id": 0}


@pytest.mark.slow
def test_experiments_train_on_classes(command: Command, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = named(tmp_path / "names.yaml", {1: ODD, 2: "beans"})
    assert command(*given(scenes, out, "k=2", f"names={names}")).code == 0
    data = (f"data.images={scenes}/images", f"data.annotations={out}/annotations.json")
    for experiment in (("few_shot",), ("semi", "label_percent=1", "data/validation=none")):
        words = (f"experiment={experiment[0]}", *experiment[1:], *TRAIN, *data)
        trained = command("train.py", *words, f"paths.output_dir={tmp_path}/{experiment[0]}")
        assert trained.code == 0, trained.err
        assert "of 2 classes" in trained.err


def test_same_name_makes_one_class(command: Command, scenes: Path, tmp_path: Path) -> None:
    names = named(tmp_path / "names.yaml", {1: "thing", 2: "thing"})
    done = command(*given(scenes, tmp_path / "out", "k=2", f"names={names}"))
    assert done.code == 0, done.err
    after = read(tmp_path / "out" / "annotations.json")
    assert after["categories"] == [{"id": 1, "name": "thing"}]
    assert len(after["annotations"]) == len(read(scenes / "annotations.json")["annotations"])


def test_edited_names_and_features_stay(command: Command, scenes: Path, tmp_path: Path) -> None:
    """A second run keeps what people wrote, and computes no features again."""
    out = tmp_path / "out"
    assert command(*given(scenes, out, "k=2")).code == 0
    named(out / "clusters.yaml", {1: "mine", 2: None})
    parts = {path: path.stat().st_mtime_ns for path in (out / "features").glob("*.npz")}
    assert parts
    assert command(*given(scenes, out, "k=2")).code == 0
    assert "mine" in (out / "clusters.yaml").read_text()
    assert {path: path.stat().st_mtime_ns for path in (out / "features").glob("*.npz")} == parts
    line = refused(command(*given(scenes, out, "k=3")))
    assert "k=2 where 3 is asked for now" in line
    assert "overwrite=true" in line
    assert command(*given(scenes, out, "k=3", "overwrite=true")).code == 0
    assert "mine" not in (out / "clusters.yaml").read_text()
    assert {path: path.stat().st_mtime_ns for path in (out / "features").glob("*.npz")} == parts


def test_find_number_of_clusters(command: Command, scenes: Path, tmp_path: Path) -> None:
    done = command(*given(scenes, tmp_path / "out", "max_k=4"))
    assert done.code == 0, done.err
    assert "silhouette" in (tmp_path / "out" / "index.html").read_text()
    hdbscan = command(*given(scenes, tmp_path / "dense", "method=hdbscan", "min_cluster_size=2"))
    assert hdbscan.code == 0, hdbscan.err


def refused(outcome: Any) -> str:
    assert outcome.code == 1, outcome.err
    lines = outcome.err.splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in outcome.err
    return str(lines[-1])


def edit(scenes: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    coco = read(scenes / "annotations.json")
    change(coco)
    (scenes / "annotations.json").write_text(json.dumps(coco))


def keep(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda coco: coco.update(annotations=coco["annotations"][:count])


@pytest.mark.parametrize(
    ("change", "more", "what"),
    [
        (lambda coco: None, ("k=500",), "k=500: there are only"),
        (keep(1), (), "1 object with a mask, and clusters need at least 2"),
        (keep(0), (), "no objects with a mask, and clusters need at least 2"),
        (lambda coco: coco["annotations"][1].pop("segmentation"), (), "annotation 2 has a box but no segmentation"),
        (lambda coco: [one.update(iscrowd=1) for one in coco["annotations"]], (), "no objects with a mask"),
    ],
    ids=["k", "one", "none", "without mask", "crowds"],
)
def test_refuse_annotations_in_one_sentence(
    command: Command, scenes: Path, tmp_path: Path, change: Any, more: tuple[str, ...], what: str
) -> None:
    edit(scenes, change)
    assert what in refused(command(*given(scenes, tmp_path / "out", *more)))


def test_refuse_unknown_cluster(command: Command, scenes: Path, tmp_path: Path) -> None:
    names = named(tmp_path / "names.yaml", {1: "a", 2: "b", 7: "c"})
    line = refused(command(*given(scenes, tmp_path / "out", "k=2", f"names={names}")))
    assert f"{names}: names the cluster 7, and there are clusters 1 to 2" in line
    assert (tmp_path / "out" / "clusters.yaml").exists()  # what is done stays
    assert not (tmp_path / "out" / "annotations.json").exists()


def test_refuse_output_of_another_run(command: Command, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotations.json").write_text("{}")
    line = refused(command(*given(scenes, tmp_path / "out")))
    assert "holds annotations.json, which is not of discover" in line
    assert (tmp_path / "out" / "annotations.json").read_text() == "{}"


def test_refuse_missing_features(command: Command, scenes: Path, tmp_path: Path) -> None:
    line = refused(command(*[word for word in given(scenes, tmp_path / "out") if not word.startswith("maskcut")]))
    assert "maskcut=<features> is needed" in line


def test_unreadable_images_are_counted(command: Command, scenes: Path, tmp_path: Path) -> None:
    (scenes / "images" / "scene_00001.png").write_bytes(b"no image")
    line = refused(command(*given(scenes, tmp_path / "out", "k=2")))
    assert "1 of 8 images cannot be read, more than the accepted share of 0.1 (max_failure_rate)" in line
    done = command(*given(scenes, tmp_path / "more", "k=2", "max_failure_rate=0.5"))
    assert done.code == 0, done.err
    assert "1 images could not be read" in (tmp_path / "more" / "index.html").read_text()
    with np.load(tmp_path / "more" / "features" / "part-000000.npz") as part:
        assert len(part["annotation_ids"]) < len(read(scenes / "annotations.json")["annotations"])
