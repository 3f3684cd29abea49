"""Augmentation of a training batch on its device: kornia's transforms image by image, then copy-paste.

The paper's recipe has copy-paste alone (`augment=cutler`); `experiment=few_shot` has color jitter, blur and large-scale
jitter (Ghiasi et al. 2021) instead. Random draws depend on the seed, the step and the place of the image, or of its
group, in the global batch: not on the number of ranks.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.data.copy_paste import CopyPasteParams, Paste, apply_plan, draw_plan
from cutler_pl.errors import ConfigError
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.ops.groups import effective_group_size
from cutler_pl.runtime.seeding import generator
from cutler_pl.types import ImageTensor, Target, target_scores

_COPY_PASTE, _TRANSFORMS = 1, 2  # part of the keys: these draws and the loader's are independent
_BOTH = ["input", "mask"]
_TRIAL_SIDE = 256


class BatchAugmentation:
    """All augmentation that follows the transfer to the device; what is None is off.

    `color_jitter`, `blur` and `scale_jitter` are transforms of `kornia.augmentation`, or `functools.partial`s that
    build them. Masks follow the scaling, objects that leave the frame are dropped, boxes are those of the masks.

    Raises:
        ConfigError: kornia rejects the values of a transform.
    """

    def __init__(
        self,
        *,
        copy_paste: CopyPasteParams | None = None,
        color_jitter: Any = None,
        blur: Any = None,
        scale_jitter: Any = None,
    ) -> None:
        self.copy_paste = copy_paste
        self.transforms = None
        given = {"color_jitter": color_jitter, "blur": blur, "scale_jitter": scale_jitter}
        if transforms := [build_transform(f"augment.{name}", one) for name, one in given.items() if one is not None]:
            from kornia.augmentation import AugmentationSequential  # a second of import time

            self.transforms = AugmentationSequential(*transforms)

    def __call__(
        self,
        images: list[ImageTensor],
        targets: list[Target],
        *,
        seed: int,
        step: int,
        place: int = 0,
        group_size: int | None = None,
    ) -> tuple[list[ImageTensor], list[Target]]:
        """Augment a rank's images and targets; the inputs are not modified.

        Args:
            images: Consecutive images of the global batch of a step.
            targets: Their ground truth.
            seed: Seed of the run.
            step: The step.
            place: Position of the first image in the global batch.
            group_size: Images per group, between which objects are pasted; None, or what the number of images is no
                multiple of: all are one group.
        """
        if self.transforms is not None:
            keys = [(seed, _TRANSFORMS, step, place + i) for i in range(len(images))]
            pairs = [transform(self.transforms, *pair) for pair in zip(images, targets, keys, strict=True)]
            images, targets = [image for image, _ in pairs], [target for _, target in pairs]
        if self.copy_paste is None:
            return images, targets
        plan: list[Paste | None] = []
        size = effective_group_size(len(images), group_size)
        for start in range(0, len(images), size):
            group, rng = slice(start, start + size), generator(seed, _COPY_PASTE, step, place + start)
            drawn = draw_plan(images[group], targets[group], self.copy_paste, rng)
            plan += [paste and replace(paste, source=start + paste.source) for paste in drawn]
        return apply_plan(images, targets, plan, self.copy_paste)


def build_transform(setting: str, given: Any) -> Any:
    """A transform of kornia, run once on an empty image: kornia checks some values only there.

    Args:
        setting: Its setting, for the sentence.
        given: The transform, or a `functools.partial` that builds it.

    Raises:
        ConfigError: kornia rejects the values.
    """
    from kornia.core.exceptions import BaseError

    try:
        built, trial = (given(), given(p=1.0)) if isinstance(given, partial) else (given, given)
        with torch.random.fork_rng(devices=[]):
            trial(torch.zeros(1, 3, _TRIAL_SIDE, _TRIAL_SIDE))
    except (BaseError, ValueError, TypeError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"{setting}: kornia rejects the values ({reason}); change them or give {setting}=null"
        ) from error
    return built


def transform(
    transforms: nn.Module, image: ImageTensor, target: Target, key: Sequence[int]
) -> tuple[ImageTensor, Target]:
    """Apply an `AugmentationSequential` to an image and its masks.

    kornia draws from torch's global CPU generator: it is seeded by `key` for the call, then restored.
    """
    pixels, masks, planes = image[None].float() / 255, target["masks"], _planes(target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(*key).initial_seed())
        if len(masks):
            pixels, planes = transforms(pixels, planes[None], data_keys=_BOTH)
            planes = planes[0]
            masks = planes[: len(masks)] > 0.5
        else:
            pixels = transforms(pixels, data_keys=_BOTH[:1])
    image = (pixels[0] * 255).round().clamp(0, 255).to(torch.uint8)
    if torch.equal(masks, target["masks"]):
        return image, target
    visible: Tensor = masks.any(dim=2).any(dim=1)
    masks = masks[visible]
    labels, scores = target["labels"][visible], target_scores(target)[visible]
    moved: Target = {**target, "masks": masks, "labels": labels, "scores": scores, "boxes": masks_to_boxes(masks)}
    if "confidence" in target:
        moved["confidence"] = (CERTAIN - planes[len(planes) // 2 :][visible]).round().to(torch.uint8)
    return image, moved


def _planes(target: Target) -> Float[Tensor, "planes height width"]:
    """What moves with the pixels: masks, then the doubt of each pixel, which is 0 outside of the image as masks are."""
    masks = target["masks"].float()
    return torch.cat([masks, CERTAIN - target["confidence"].float()]) if "confidence" in target else masks
