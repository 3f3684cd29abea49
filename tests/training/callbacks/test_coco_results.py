import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutler_pl.coco import rle
from cutler_pl.errors import ConfigError
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.training.callbacks.coco_results import RankResults


def prediction(scores: list[float], *, labels: list[int] | None = None) -> CompactPrediction:
    count = len(scores)
    return CompactPrediction(
        boxes=torch.tensor([[0.1, 0.0, 8.0, place + 1.0] for place in range(count)]).reshape(count, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels or [1] * count, dtype=torch.int64),
        mask_probabilities=torch.ones(count, 28, 28),
        size_hw=(6, 8),
    )


def write(path: Path, parts: list[list[tuple[int, CompactPrediction]]], **options: Any) -> list[dict[str, Any]]:
    for rank, images in enumerate(parts):
        part = RankResults(path, rank=rank, **options)
        part.open()
        for image_id, found in images:
            part.add(image_id, found)
        part.close()
    part.merge(len(parts))
    results: list[dict[str, Any]] = json.loads(path.read_text())
    return results


def test_records_have_coco_form(tmp_path: Path) -> None:
    (record,) = write(tmp_path / "results.json", [[(12, prediction([0.7]))]])
    assert list(record) == ["image_id", "category_id", "bbox", "score", "segmentation"]
    assert record["image_id"] == 12
    assert record["category_id"] == 1
    assert record["bbox"] == [0.1, 0.0, 7.9, 1.0]
    assert record["score"] == 0.7
    expected = np.zeros((6, 8), dtype=bool)
    expected[0] = True
    assert (rle.decode(record["segmentation"]) == expected).all()


def test_numbers_read_back_as_the_same_float32(tmp_path: Path) -> None:
    scores = torch.rand(20)
    found = prediction(scores.tolist())
    records = write(tmp_path / "results.json", [[(1, found)]])
    written = torch.tensor([record["score"] for record in records])
    assert torch.equal(written, scores.sort(descending=True).values)


def test_order_by_image_and_score(tmp_path: Path) -> None:
    """Whatever the number of ranks and the order of images."""
    images = {image_id: prediction([0.1 * image_id, 0.9, 0.5]) for image_id in range(1, 7)}
    one = [[(image_id, images[image_id]) for image_id in range(1, 7)]]
    three = [[(image_id, images[image_id]) for image_id in ids] for ids in ([6, 2], [1, 5, 4], [3])]
    records = write(tmp_path / "one.json", one)
    write(tmp_path / "three.json", three)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "three.json").read_bytes()
    keys = [(record["image_id"], -record["score"]) for record in records]
    assert keys == sorted(keys)
    assert len(records) == 18


def test_equal_scores_keep_the_order_of_the_model(tmp_path: Path) -> None:
    records = write(tmp_path / "results.json", [[(1, prediction([0.5, 0.7, 0.5]))]])
    assert [record["bbox"][3] for record in records] == [2.0, 1.0, 3.0]


def test_image_of_two_ranks_counts_once(tmp_path: Path) -> None:
    records = write(
        tmp_path / "results.json", [[(1, prediction([0.5]))], [(1, prediction([0.6])), (2, prediction([0.7]))]]
    )
    assert [(record["image_id"], record["score"]) for record in records] == [(1, 0.5), (2, 0.7)]


def test_best_detection_comes_first(tmp_path: Path) -> None:
    records = write(tmp_path / "a.json", [[(1, prediction([0.2, 0.9, 0.5, 0.3, 0.7]))]])
    assert [record["score"] for record in records] == [0.9, 0.7, 0.5, 0.3, 0.2]


def test_images_and_detections_are_counted(tmp_path: Path) -> None:
    part = RankResults(tmp_path / "results.json")
    part.open()
    part.add(1, prediction([0.2, 0.9]))
    part.add(2, prediction([]))
    part.close()
    assert (part.images, part.written) == (2, 2)
    assert part.merge(1) == 1


def test_no_detections_make_an_empty_list(tmp_path: Path) -> None:
    assert write(tmp_path / "results.json", [[(3, prediction([]))], []]) == []


def test_labels_become_category_ids(tmp_path: Path) -> None:
    found = prediction([0.9, 0.8], labels=[2, 1])
    records = write(tmp_path / "results.json", [[(1, found)]], category_ids=[7, 90])
    assert [record["category_id"] for record in records] == [90, 7]


def test_refuse_label_without_category(tmp_path: Path) -> None:
    part = RankResults(tmp_path / "results.json", category_ids=[7])
    part.open()
    with pytest.raises(ConfigError, match="label 2, but category ids are known for 1 to 1"):
        part.add(1, prediction([0.9], labels=[2]))
    part.close()


def test_masks_are_written_full_size(tmp_path: Path) -> None:
    compact = CompactPrediction(
        boxes=torch.tensor([[0.0, 0.0, 8.0, 6.0]]),
        scores=torch.tensor([0.8]),
        labels=torch.ones(1, dtype=torch.int64),
        mask_probabilities=torch.ones(1, 28, 28),
        size_hw=(6, 8),
    )
    (record,) = write(tmp_path / "results.json", [[(1, compact)]])
    assert rle.decode(record["segmentation"]).shape == (6, 8)
    assert rle.area(record["segmentation"]) == 48


def test_old_file_stays_until_the_merge(tmp_path: Path) -> None:
    """Parts are gone afterwards."""
    path = tmp_path / "results.json"
    path.write_text("old")
    part = RankResults(path)
    part.open()
    part.add(1, prediction([0.5]))
    part.close()
    assert path.read_text() == "old"
    part.merge(1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_refuse_add_before_open(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="open"):
        RankResults(tmp_path / "results.json").add(1, prediction([0.5]))
