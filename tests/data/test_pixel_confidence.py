"""Confidence of pixels: drawn from maps with the image's transforms, kept through copy-paste and augmentation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomAffine

from cutler_pl.coco.confidence import ConfidenceMap, encode
from cutler_pl.data.augmentation import transform
from cutler_pl.data.copy_paste import CopyPasteParams, Paste, apply_plan
from cutler_pl.data.instances import InstanceDataset
from cutler_pl.data.pixel_confidence import draw_confidence, mean_confidence
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams, TransformParams
from cutler_pl.types import Target

VALUES = np.array([[0, 51], [102, 204]], dtype=np.uint8)


def draw(bbox: tuple[float, float, float, float], params: TransformParams, size_hw: tuple[int, int] = (4, 6)) -> Any:
    return draw_confidence({1: ConfidenceMap(VALUES, bbox)}, 2, size_hw, params)


def test_pixels_take_the_cell_below_them() -> None:
    """2×2 cells over rows 1 to 3 and columns 2 to 5 of 4×6 pixels; certain elsewhere, as is the other object."""
    drawn = draw((2.0, 1.0, 4.0, 2.0), TransformParams((4, 6)))
    assert drawn.dtype == torch.uint8
    assert drawn[0].eq(255).all()
    assert drawn[1].tolist() == [
        [255] * 6,
        [255, 255, 0, 0, 51, 51],
        [255, 255, 102, 102, 204, 204],
        [255] * 6,
    ]


def test_maps_move_with_the_image() -> None:
    """Twice as large and mirrored."""
    plain = draw((2.0, 1.0, 4.0, 2.0), TransformParams((4, 6)))
    moved = draw((2.0, 1.0, 4.0, 2.0), TransformParams((8, 12), flip=True))
    assert torch.equal(moved, plain.flip(2).repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_maps_may_reach_beyond_the_image() -> None:
    """Or lie outside of it."""
    drawn = draw((-2.0, -1.0, 4.0, 2.0), TransformParams((4, 6)))
    assert drawn[1, 0].tolist() == [204, 204, 255, 255, 255, 255]
    assert drawn[1, 1:].eq(255).all()
    for flip in (False, True):
        assert draw((50.0, -70.0, 4.0, 2.0), TransformParams((4, 6), flip=flip)).eq(255).all()


def test_dataset_draws_maps_beside_masks(make_folder: Callable[..., Any]) -> None:
    """Over the very pixels of the mask, whatever the resize and the flip; crowds take theirs along."""
    folder = make_folder([(40, 60), (40, 60)], objects=3)
    first, second, _, other, *_ = folder.coco["annotations"]
    first |= {"iscrowd": 1, "confidence_map": encode(ConfidenceMap(VALUES, (0.0, 0.0, 60.0, 40.0)))}
    box = tuple(map(float, second["bbox"]))
    second["confidence_map"] = encode(ConfidenceMap(np.full((2, 3), 51, np.uint8), box))
    folder.rewrite()
    training_set = TrainingSet(
        images=folder.images, annotations=folder.annotations, class_agnostic=True, filter_empty=False
    )
    transforms = TrainTransformParams(train_sizes=(20, 40, 50), max_size=99, flip_probability=0.5)
    data = InstanceDataset(training_set, transforms, seed=0)
    for epoch in range(6):
        target, without = (data[SampleKey(0, epoch, i)].target for i in range(2))
        assert target is not None
        assert without is not None
        assert target["confidence"].shape == target["masks"].shape
        assert target["confidence"][1].eq(255).all()
        different = (target["confidence"][0] < 255) ^ target["masks"][0]
        assert int(different.sum()) <= (0 if target["masks"].shape[1] == 40 else 16)  # half pixels at the edges
        assert mean_confidence(target).tolist() == pytest.approx([0.2, 1.0], abs=0.15)
        assert "confidence" not in without
    assert other["image_id"] == 101


def target_of(masks: torch.Tensor, **more: torch.Tensor) -> Target:
    labels = torch.ones(len(masks), dtype=torch.int64)
    return {"boxes": torch.zeros(len(masks), 4), "labels": labels, "masks": masks, **more}  # type: ignore[typeddict-item]


def strip(*columns: tuple[int, int]) -> torch.Tensor:
    """Masks of 1×8 pixels, each of some columns."""
    masks = torch.zeros(len(columns), 1, 8, dtype=torch.bool)
    for mask, (first, end) in zip(masks, columns, strict=True):
        mask[:, first:end] = True
    return masks


def pair(**confidences: torch.Tensor) -> tuple[list[torch.Tensor], list[Target]]:
    """The first image, black with an object at 4 to 8, gets that of the second, white, at 0 to 6."""
    images = [torch.full((3, 1, 8), value, dtype=torch.uint8) for value in (0, 200)]
    masks = {"target": strip((4, 8)), "source": strip((0, 6))}
    named = {name: {"confidence": confidences[name]} if name in confidences else {} for name in masks}
    return images, [target_of(mask, **named[name]) for name, mask in masks.items()]


PLAN = [Paste(1, (0,), (1, 8), (0, 0)), None]
WHOLE = {"max_ioa": 0.9}
SOURCE = torch.tensor([[[255, 255, 51, 51, 255, 255, 102, 255]]], dtype=torch.uint8)
TARGET = torch.tensor([[[255, 255, 255, 0, 51, 51, 102, 102]]], dtype=torch.uint8)


def test_copies_keep_their_confidence() -> None:
    """Outside of a copy, and where it hides an object, the masks are certain."""
    images, targets = pair(source=SOURCE, target=TARGET)
    _, (pasted, same) = apply_plan(images, targets, PLAN, CopyPasteParams(**WHOLE))
    assert pasted["confidence"].tolist() == [
        [[255, 255, 255, 255, 255, 255, 102, 102]],
        [[255, 255, 51, 51, 255, 255, 255, 255]],
    ]
    assert same is targets[1]
    assert targets[0]["confidence"].tolist() == TARGET.tolist()


@pytest.mark.parametrize(("name", "rows"), [("source", (1,)), ("target", (0,)), (None, ())])
def test_images_without_maps_are_certain(name: str | None, rows: tuple[int, ...]) -> None:
    """Where neither has any, there is none afterwards."""
    images, targets = pair(**({} if name is None else {name: {"source": SOURCE, "target": TARGET}[name]}))
    _, (pasted, _) = apply_plan(images, targets, PLAN, CopyPasteParams(**WHOLE))
    assert ("confidence" in pasted) == bool(rows)
    for row in range(2) if rows else ():
        assert bool((pasted["confidence"][row] < 255).any()) == (row in rows)


@pytest.mark.parametrize(("least", "count"), [(0.0, 2), (0.73, 2), (0.74, 1)])
def test_doubtful_objects_are_not_pasted(least: float, count: int) -> None:
    """The mean of 4 certain and 2 pixels of 0.2 is 0.7333."""
    images, targets = pair(source=SOURCE)
    assert mean_confidence(targets[1]).tolist() == pytest.approx([11 / 15])
    params = CopyPasteParams(**WHOLE, min_confidence=least)
    (image, _), (pasted, _) = apply_plan(images, targets, PLAN, params)
    assert len(pasted["labels"]) == count
    assert bool(image.any()) == (count == 2)


def test_blend_by_confidence() -> None:
    """A fifth of 200 over black; certain pixels cover."""
    images, targets = pair(source=SOURCE)
    (image, _), _ = apply_plan(images, targets, PLAN, CopyPasteParams(**WHOLE, blend=True))
    assert image[0].tolist() == [[200, 200, 40, 40, 200, 200, 0, 0]]
    plain, _ = apply_plan(*pair(), PLAN, CopyPasteParams(**WHOLE))
    opaque, _ = apply_plan(*pair(), PLAN, CopyPasteParams(**WHOLE, blend=True))
    assert torch.equal(plain[0], opaque[0])


def test_augmentation_moves_confidence_with_masks() -> None:
    """Half the frame to the right: what enters is certain."""
    masks = strip((0, 2), (4, 8))
    confidence = torch.where(masks, 51, 255).to(torch.uint8)
    moves = AugmentationSequential(RandomAffine(0.0, translate=(0.0, 0.0), scale=(2.0, 2.0), p=1.0))
    image = torch.zeros(3, 1, 8, dtype=torch.uint8)
    _, moved = transform(moves, image, target_of(masks, confidence=confidence), (0,))
    assert len(moved["masks"]) == len(moved["confidence"]) == 1
    doubtful = moved["confidence"][0] < 153
    assert torch.equal(doubtful, moved["masks"][0])
