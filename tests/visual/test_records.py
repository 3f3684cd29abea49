from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.visual import records
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.records import draw_records

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def record(x: int, y: int, width: int, height: int, **more: Any) -> dict[str, Any]:
    mask = np.zeros(IMAGE.shape[:2], dtype=bool)
    mask[y : y + height, x : x + width] = True
    return {"bbox": [x, y, width, height], "segmentation": rle.encode(mask), "category_id": 3, **more}


def test_draw_masks_boxes_scores_names(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def draw(image: np.ndarray, masks: np.ndarray, **more: Any) -> np.ndarray:
        given.update(more, masks=masks)
        return draw_instances(image, masks, **more)

    monkeypatch.setattr(records, "draw_instances", draw)
    found = [record(5, 6, 20, 30, score=0.5), record(40, 10, 20, 20, score=0.25, category_id=7)]
    draw_records(IMAGE, found, names={3: "cat"})
    assert given["masks"].sum(axis=(1, 2)).tolist() == [600, 400]
    assert given["boxes"].tolist() == [[5, 6, 25, 36], [40, 10, 60, 30]]
    assert given["scores"] == [0.5, 0.25]
    assert given["labels"] == ["cat", "7"]
    draw_records(IMAGE, found, boxes=False, scores=False)
    assert given["boxes"] is given["scores"] is given["labels"] is None


def test_polygons_equal_run_lengths() -> None:
    polygon = record(10, 10, 20, 20) | {"segmentation": [[10.0, 10, 30, 10, 30, 30, 10, 30]]}
    assert np.array_equal(draw_records(IMAGE, [polygon]), draw_records(IMAGE, [record(10, 10, 20, 20)]))


@pytest.mark.parametrize("segmentation", [None, [], rle.encode(np.ones((80, 60), dtype=bool))])
def test_boxes_alone_without_fitting_masks(segmentation: Any) -> None:
    drawn = draw_records(IMAGE, [record(10, 10, 20, 20), record(1, 1, 9, 9, segmentation=segmentation)])
    boxes = np.array([[10, 10, 30, 30], [1, 1, 10, 10]])
    assert np.array_equal(drawn, draw_instances(IMAGE, None, boxes=boxes))


def test_cross_out_crowds() -> None:
    crowd = record(10, 10, 20, 20, iscrowd=1)
    drawn = draw_records(IMAGE, [crowd])
    assert drawn[10, 20].tolist() == drawn[20, 20].tolist() == [255, 255, 0]
    assert np.array_equal(draw_records(IMAGE, []), IMAGE)
    assert not np.array_equal(draw_records(IMAGE, [crowd, record(40, 30, 20, 20)]), drawn)
