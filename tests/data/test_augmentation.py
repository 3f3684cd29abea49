from functools import partial
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from kornia.augmentation import ColorJitter, RandomAffine, RandomGaussianBlur

from cutler_pl.data import BatchAugmentation, CopyPasteParams
from cutler_pl.data.copy_paste import copy_paste
from cutler_pl.errors import ConfigError
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.seeding import generator
from cutler_pl.types import ImageTensor, Target

CONFIG_DIR = config_dir()

KEY = {"seed": 3, "step": 7, "place": 0}
SCALE_JITTER = RandomAffine(degrees=0.0, translate=(0.1, 0.1), scale=(0.5, 1.5), p=1.0)


def few_shot() -> BatchAugmentation:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return instantiate(compose(overrides=["+augment=few_shot"]).augment)


def batch(count: int = 4, *, size_hw: tuple[int, int] = (60, 80)) -> tuple[list[ImageTensor], list[Target]]:
    """Dark images with two bright squares each, which are the objects."""
    images, targets = [], []
    for _ in range(count):
        masks = torch.zeros(2, *size_hw, dtype=torch.bool)
        masks[0, 5:25, 8:28] = True
        masks[1, 30:50, 50:70] = True
        image = torch.randint(20, 60, (3, *size_hw), dtype=torch.uint8)
        image[:, masks.any(dim=0)] = 230
        images.append(image)
        targets.append(Target(boxes=masks_to_boxes(masks), labels=torch.tensor([4, 5]), masks=masks, image_id=9))
    return images, targets


def same(first: Any, second: Any) -> bool:
    (images, targets), (others, other_targets) = first, second
    return all(torch.equal(a, b) for a, b in zip(images, others, strict=True)) and all(
        torch.equal(a[key], b[key])
        for a, b in zip(targets, other_targets, strict=True)
        for key in ("boxes", "labels", "masks")
    )


def test_off_changes_nothing() -> None:
    images, targets = batch()
    out, out_targets = BatchAugmentation()(images, targets, **KEY)
    assert out is images
    assert out_targets is targets


def test_copy_paste_alone_keeps_its_draws() -> None:
    images, targets = batch()
    expected = copy_paste(images, targets, CopyPasteParams(), generator(3, 1, 7, 0))
    assert same(BatchAugmentation(copy_paste=CopyPasteParams())(images, targets, **KEY), expected)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("blur", {"kernel_size": [8, 8]}),
        ("blur", {"sigma": [2.0]}),
        ("color_jitter", {"hue": 3.0}),
        ("scale_jitter", {"scale": [-1.0, 1.0]}),
        ("scale_jitter", {"unknown": 1}),
    ],
)
def test_rejected_values_name_the_setting(name: str, values: dict[str, Any]) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        group = instantiate(compose(overrides=["+augment=few_shot"]).augment, _partial_=True)
    changed = {name: partial(group.keywords[name], **values)}
    with pytest.raises(ConfigError, match=rf"^augment\.{name}: kornia rejects .*give augment\.{name}=null$"):
        group(**changed)


def test_masks_follow_scale_jitter() -> None:
    images, targets = batch(12)
    augmented = BatchAugmentation(scale_jitter=SCALE_JITTER)(images, targets, **KEY)
    sizes = set()
    for image, target in zip(*augmented, strict=True):
        assert image.shape == (3, 60, 80)
        assert image.dtype == torch.uint8
        bright = image[0] > 150
        assert (bright != target["masks"].any(dim=0)).float().mean() < 0.02  # but for pixels at the edges
        assert torch.equal(target["boxes"], masks_to_boxes(target["masks"]))
        assert len(target["labels"]) == len(target["masks"])
        assert target["image_id"] == 9
        sizes.add(int(target["masks"].sum()))
    assert len(sizes) == 12


def test_objects_outside_the_frame_are_dropped() -> None:
    images, targets = batch(1)
    targets[0]["scores"] = targets[0]["labels"] / 10
    enlarge = RandomAffine(degrees=0.0, scale=(4.0, 4.0), p=1.0)
    (image,), (target,) = BatchAugmentation(scale_jitter=enlarge)(images, targets, **KEY)
    assert image.shape == (3, 60, 80)
    assert target["masks"].any(dim=2).any(dim=1).all()
    assert len(target["labels"]) < 2
    assert torch.equal(target["scores"], target["labels"] / 10)


@pytest.mark.parametrize("options", [{"color_jitter": ColorJitter(0.9, 0.9, 0.9, 0.5)}, {
    "blur": RandomGaussianBlur((9, 9), (2.0, 2.0), p=1.0)}])  # fmt: skip
def test_pixel_transforms_leave_targets_alone(options: dict[str, Any]) -> None:
    images, targets = batch()
    out, out_targets = BatchAugmentation(**options)(images, targets, **KEY)
    assert all(new is old for new, old in zip(out_targets, targets, strict=True))
    assert all(new.dtype == torch.uint8 and not torch.equal(new, old) for new, old in zip(out, images, strict=True))


def test_draws_depend_on_key_and_place_alone() -> None:
    images, targets = batch(1)
    images, targets = images * 4, targets * 4
    augment = few_shot()
    state = torch.get_rng_state()
    first = augment(images, targets, **KEY)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert same(few_shot()(images, targets, **KEY), first)
    assert len({image.sum().item() for image in first[0]}) == 4
    assert not same(augment(images, targets, **(KEY | {"step": 8})), first)
    halves = [augment(images[:2], targets[:2], **(KEY | {"place": place})) for place in (0, 2)]
    assert same((halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]), first)


def test_inputs_stay_as_they_are() -> None:
    images, targets = batch()
    before = (
        [image.clone() for image in images],
        [{k: v.clone() for k, v in t.items() if k != "image_id"} for t in targets],
    )
    few_shot()(images, targets, **KEY)
    assert same((images, targets), before)


def test_images_without_objects_are_augmented() -> None:
    images, targets = batch(1)
    empty: Target = {**targets[0], "masks": targets[0]["masks"][:0], "labels": targets[0]["labels"][:0]}
    empty["boxes"] = masks_to_boxes(empty["masks"])
    (image,), (target,) = few_shot()(images, [empty], **KEY)
    assert image.shape == images[0].shape
    assert target is empty


def test_transforms_combine_with_copy_paste() -> None:
    images, targets = batch()
    augment = BatchAugmentation(copy_paste=CopyPasteParams(), scale_jitter=SCALE_JITTER)
    for image, target in zip(*augment(images, targets, **KEY), strict=True):
        assert target["masks"].shape[1:] == image.shape[1:]
        assert torch.equal(target["boxes"], masks_to_boxes(target["masks"]))


def test_pasting_stays_within_groups() -> None:
    """A group on its own, at its place, is augmented as in the batch."""
    images, targets = batch(8)
    augment = BatchAugmentation(copy_paste=CopyPasteParams())
    whole = augment(images, targets, **KEY, group_size=2)
    for place in (0, 2, 4, 6):
        part = slice(place, place + 2)
        alone = augment(images[part], targets[part], seed=3, step=7, place=place, group_size=2)
        assert same(alone, (whole[0][part], whole[1][part]))
    assert not same(augment(images, targets, **KEY), whole)
    assert same(augment(images, targets, **KEY, group_size=3), augment(images, targets, **KEY))
