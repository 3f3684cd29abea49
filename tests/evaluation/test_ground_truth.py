"""Ground truth read in batches: the same numbers as of `load_coco`, in less memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.coco.io import load_coco
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.evaluation import compare
from cutler_pl.evaluation.ground_truth import load_ground_truth

SIZE = 60, 80
KEYS = ("images", "annotations", "categories")


def coco(images: int = 4, points: int = 8, objects: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    annotations: list[dict[str, Any]] = []
    for number in range(images * objects):
        centre, radius = rng.uniform(20, 40, 2), rng.uniform(5, 18)
        polygon = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).ravel().tolist()
        mask = rle.to_rle([polygon], *SIZE)
        kinds: list[Any] = [[polygon], mask, {"size": list(SIZE), "counts": uncompressed(mask)}]
        annotations.append({
            "id": number, "image_id": number % images, "category_id": 1 + number % 2, "bbox": rle.bbox(mask),
            "segmentation": kinds[number % 3], "iscrowd": int(number % 3 == 2), "note": "left out",
        })  # fmt: skip
    records = [{"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(images)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"info": {"year": 1}, "images": records, "annotations": annotations, "categories": categories}


def uncompressed(mask: Any) -> list[int]:
    flat = rle.decode(mask).ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()  # type: ignore[no-any-return]


def write(folder: Path, content: Any, *order: str) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps({key: content[key] for key in order} if order else content))
    return path


@pytest.mark.parametrize("order", [(), ("categories", "annotations", "images"), KEYS])
@pytest.mark.parametrize("swapped", [False, True])
def test_read_as_whole_file_is(tmp_path: Path, order: tuple[str, ...], swapped: bool) -> None:
    content = coco()
    if swapped:
        for image in content["images"]:
            image["height"], image["width"] = image["width"], image["height"]
    path = write(tmp_path, content, *order)
    whole, streamed = load_coco(path, keep_empty_boxes=True), load_ground_truth(path, on_error="raise")
    assert (streamed.swapped, streamed.dropped) == (whole.swapped, whole.dropped) == (4 if swapped else 0, [])
    assert streamed.coco["images"] == whole.coco["images"]
    assert streamed.coco["categories"] == whole.coco["categories"]
    for found, expected in zip(streamed.coco["annotations"], whole.coco["annotations"], strict=True):
        assert found["segmentation"] == rle.to_rle(expected["segmentation"], *SIZE)
        kept = {key: value for key, value in expected.items() if key not in ("segmentation", "note")}
        assert {key: value for key, value in found.items() if key != "segmentation"} == kept


def test_metrics_of_file_and_content_are_equal(tmp_path: Path) -> None:
    content = coco(images=9)
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.1 * (a["id"] % 7),
         "segmentation": rle.to_rle(content["annotations"][a["id"] // 2]["segmentation"], *SIZE)}
        for a in content["annotations"]
    ]  # fmt: skip
    file, given = (compare(truth, results) for truth in (write(tmp_path, content), content))
    assert {k: c.summary() for k, c in file.curves.items()} == {k: c.summary() for k, c in given.curves.items()}


def test_invalid_records_are_named_as_before(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][3]["image_id"] = 99
    content["annotations"][5]["bbox"] = "no box"
    content["annotations"].append(content["annotations"][0])
    path = write(tmp_path, content)
    whole = load_coco(path, on_error="skip", keep_empty_boxes=True)
    assert load_ground_truth(path, on_error="skip").dropped == whole.dropped
    assert len(whole.dropped) == 3
    with pytest.raises(AnnotationError, match="annotation 3 is for the unknown image 99"):
        load_ground_truth(path, on_error="raise")


def test_no_annotations_and_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, {**coco(), "annotations": []})
    assert load_ground_truth(path, on_error="raise").coco["annotations"] == []
    with pytest.raises(DatasetNotFoundError):
        load_ground_truth(tmp_path / "none.json", on_error="raise")


@pytest.mark.slow
def test_memory_stays_below_the_files_size(tmp_path: Path) -> None:
    """Before, a file with outlines took several times its size."""
    content = coco(images=2, points=600)
    many = [{**content["annotations"][0], "id": number} for number in range(1500)]
    path = write(tmp_path, {**content, "annotations": many})
    assert path.stat().st_size > 30e6
    tracemalloc.start()
    try:
        load_ground_truth(path, on_error="raise")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size
