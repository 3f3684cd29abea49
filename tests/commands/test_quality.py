"""`cutler quality`: the verdict, its files, and bad inputs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from cutler_pl.coco import rle
from cutler_pl.commands import quality
from cutler_pl.commands.config_store import register_params
from cutler_pl.errors import AnnotationError, CheckpointError, ConfigError, ImageReadError
from cutler_pl.runtime.config_tree import config_dir

SIZE = (40, 60)


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    register_params()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


@pytest.fixture
def given(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Four images with a compact mask of score 0.8 each, in `images/`, and their annotations."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, 15:45] = True
    images, annotations = [], []
    for number in range(1, 5):
        name = f"{number}.png"
        write_image(f"images/{name}", SIZE, seed=number)
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        code = rle.encode(mask)
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "segmentation": code, "score": 0.8}
            | {"bbox": rle.bbox(code), "area": rle.area(code)}
        )
    write(tmp_path, images, annotations)
    return tmp_path


def write(folder: Path, images: list[Any], annotations: list[Any]) -> None:
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    (folder / "annotations.json").write_text(json.dumps(coco))


def config(folder: Path, *overrides: str) -> DictConfig:
    words = (f"annotations={folder}/annotations.json", f"images={folder}/images", f"output={folder}/out")
    return compose("quality", overrides=[*words, *overrides])


def report(folder: Path, *overrides: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(quality.run(config(folder, *overrides)).read_text())
    return content


def test_write_verdict_page_and_sheets(given: Path) -> None:
    found = report(given)
    assert found["verdict"] == "works"
    assert found["sentence"].startswith("MaskCut works here: 4 of 4 images have a mask, 1.0 per image")
    assert found["figures"]["masks"]["border_share"] == 0
    assert {path.name for path in (given / "out").iterdir()} >= {"index.html", "surest.jpg", "doubtful.jpg"}
    assert "Agreement is not measured: no record" in (given / "out/index.html").read_text()


def test_same_command_writes_again(given: Path) -> None:
    assert report(given) == report(given)


def test_one_image_suffices(given: Path) -> None:
    content = json.loads((given / "annotations.json").read_text())
    write(given, content["images"][:1], content["annotations"][:1])
    assert report(given)["figures"]["masks"]["images"] == 1


def test_no_mask_is_outside(given: Path) -> None:
    write(given, json.loads((given / "annotations.json").read_text())["images"], [])
    found = report(given)
    assert found["verdict"] == "outside"
    assert found["figures"]["masks"]["names_without_mask"] == ["1.png", "2.png", "3.png", "4.png"]


def test_refuse_annotations_without_images(given: Path) -> None:
    write(given, [], [])
    with pytest.raises(AnnotationError, match="holds no image record; give the annotations of a MaskCut run"):
        report(given)


def test_refuse_boxes_alone(given: Path) -> None:
    content = json.loads((given / "annotations.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    write(given, content["images"], content["annotations"])
    with pytest.raises(AnnotationError, match="its 4 annotations are boxes without a mask"):
        report(given)


def test_refuse_annotations_of_other_images(given: Path) -> None:
    content = json.loads((given / "annotations.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"other/{image['file_name']}"
    write(given, content["images"], content["annotations"])
    with pytest.raises(AnnotationError, match=r"none of its 4 images is in .*, the first is other"):
        report(given)


def test_refuse_when_no_image_is_readable(given: Path) -> None:
    for path in (given / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ImageReadError, match="none of its 4 images can be read, for example 1"):
        report(given)


def test_refuse_output_of_another_run(given: Path) -> None:
    (given / "out").mkdir()
    (given / "out" / "predictions.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"holds predictions\.json, which is not of a quality report"):
        report(given)
    assert report(given, "overwrite=true")["verdict"] == "works"


def test_name_unreadable_images(given: Path) -> None:
    (given / "images" / "2.png").write_bytes(b"no image")
    (given / "images" / "new.png").write_bytes(b"no image")
    found = report(given)
    assert list(found["figures"]["images"]["unreadable"]) == ["2.png", "new.png"]
    assert found["advice"][0] == "Repair or remove the 2 unreadable images."


RECORD = {
    "features": {"_target_": "cutler_pl.maskcut.build_feature_extractor", "name": "patch_descriptors", "weights": None},
    "fixed_size": 64,
    "cut": {"tau": 0.8, "num_masks": 3},
    "crf": {"iterations": 2},
    "annotation": {"scores": True},
}


def record(folder: Path, **changes: Any) -> None:
    (folder / "shards").mkdir()
    (folder / "shards" / "parameters.json").write_text(json.dumps({**RECORD, **changes}))


def test_second_run_with_another_tau(given: Path) -> None:
    record(given)
    agreement = report(given)["figures"]["agreement"]
    assert agreement["setting"] == "maskcut.tau=0.85"
    assert agreement["images"] == 4
    assert 0 <= agreement["matched_share"] <= 1
    page = (given / "out/index.html").read_text()
    assert "by a second run with maskcut.tau=0.85 on 4 images" in page


def test_second_run_with_other_features(given: Path) -> None:
    found = report(given, "agreement=patch_descriptors", "agreement_images=2")
    assert found["figures"]["agreement"]["setting"] == "maskcut=patch_descriptors"
    assert found["figures"]["agreement"]["images"] == 2


def test_say_why_there_is_no_second_run(given: Path) -> None:
    assert report(given, "agreement=null")["figures"]["agreement_note"] == "agreement=null asks for none"
    record(given, features={"name": "dino_vits16", "weights": str(given / "gone.pth")})
    found = report(given)["figures"]
    assert found["agreement"] is None
    assert "gone.pth" in found["agreement_note"]


def test_refuse_features_without_weights(given: Path) -> None:
    with pytest.raises(CheckpointError, match=r"agreement=dino_vits16: .*gone\.pth.*agreement_weights=<file>"):
        report(given, "agreement=dino_vits16", f"agreement_weights={given}/gone.pth")


def test_damaged_record_counts_as_none(given: Path) -> None:
    record(given, cut=[])
    assert report(given)["figures"]["agreement_note"].startswith("no record of a MaskCut run")


def test_refuse_unknown_features(given: Path) -> None:
    with pytest.raises(ConfigError, match="there is no maskcut option 'dino_vits61'; did you mean dino_vits16"):
        report(given, "agreement=dino_vits61")


def test_page_lists_images(given: Path, write_image: Callable[..., Path]) -> None:
    (given / "images" / "4.png").write_bytes((given / "images" / "3.png").read_bytes())
    (given / "images" / "2.png").write_bytes(b"no image")
    write_image("images/new.png", SIZE, seed=9)
    found = report(given)["figures"]["images"]
    assert found["near_duplicates"] == [["3.png", "4.png"]]
    assert found["without_record"] == ["new.png"]
    page = (given / "out/index.html").read_text()
    for text in ("2.png", "looks the same", "new.png", "unreadable"):
        assert text in page
