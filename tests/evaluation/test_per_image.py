from typing import Any

import pytest

from cutler_pl.evaluation.detections import Detections
from cutler_pl.evaluation.per_image import ImageScore, best_and_worst, score_images

Box = list[float]


def truth(*objects: tuple[int, Box, int]) -> Any:
    annotations = [
        {"id": n, "image_id": i, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for n, (i, box, crowd) in enumerate(objects, 1)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 100, "width": 100} for i in range(1, 5)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}


def found(*detections: tuple[int, float, Box]) -> Detections:
    records = [{"image_id": i, "category_id": 1, "score": score, "bbox": box} for i, score, box in detections]
    return Detections.from_results(records)


A, B, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0], [80.0, 0.0, 9.0, 9.0]


def test_false_detection_between_two_hits() -> None:
    coco = truth((1, A, 0), (1, B, 0))
    score = score_images(coco, found((1, 0.9, A), (1, 0.8, FAR), (1, 0.7, B)))
    assert [(s.image_id, s.objects, s.found) for s in score] == [(1, 2, 2)]
    assert score[0].average_precision == pytest.approx((1 + 2 / 3) / 2)


def test_duplicate_is_false_and_crowd_ignored() -> None:
    coco = truth((1, A, 0), (1, [50.0, 0.0, 50.0, 100.0], 1))
    twice = found((1, 0.9, [60.0, 60.0, 9.0, 9.0]), (1, 0.8, A), (1, 0.7, A))
    assert score_images(coco, twice)[0].average_precision == 1.0
    first_wrong = found((1, 0.9, [0.0, 50.0, 20.0, 20.0]), (1, 0.8, A))
    assert score_images(coco, first_wrong)[0].average_precision == 0.5


def test_images_without_objects_or_detections() -> None:
    coco = truth((1, A, 0), (2, A, 1))
    assert score_images(coco, found((2, 0.5, A), (3, 0.5, A))) == [ImageScore(1, 1, 0, 0.0)]
    assert score_images(truth(), found()) == []


def test_only_best_detections_count() -> None:
    coco = truth((1, A, 0))
    assert score_images(coco, found((1, 0.9, FAR), (1, 0.8, A)), max_detections=1)[0].found == 0


def test_best_worst_and_random_are_disjoint() -> None:
    scores = [ImageScore(i, objects=i, found=0, average_precision=i // 3 / 4) for i in range(1, 10)]
    chosen = best_and_worst(scores, count=3)
    assert [s.image_id for s in chosen["best"]] == [9, 8, 7]
    assert [s.image_id for s in chosen["worst"]] == [2, 1, 5]
    assert sorted(s.image_id for s in chosen["random"]) == [3, 4, 6]
    assert best_and_worst(scores, count=3) == chosen
    few = best_and_worst(scores[:3], count=3)
    assert [len(part) for part in few.values()] == [2, 1, 0]
    assert [len(part) for part in best_and_worst([], count=3).values()] == [0, 0, 0]
