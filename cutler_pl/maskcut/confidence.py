"""Confidence of each patch of a mask: the share of cuts under perturbed settings that agree about it.

As CutS3D takes it from cuts of the same image under several settings (Sick et al., ICCV 2025, Spatial Confidence), for
any generator: it runs again with shifted thresholds of similarity and noise in the features, and the mask of each run
with the highest IoU votes. A patch is certain where all of them hold it, or none does.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable
from zlib import crc32

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.generator import Candidates, Features, Generator
from cutler_pl.maskcut.params import PerturbedCuts
from cutler_pl.ops.masks import mask_intersections
from cutler_pl.runtime.seeding import generator as seeded


@runtime_checkable
class Shiftable(Protocol):
    """A generator that finds masks by a threshold of similarity, or several."""

    def shifted(self, step: float) -> Generator:
        """The same with each threshold raised by a step, within what it can be."""
        ...


def check_perturbable(generator: Generator, params: PerturbedCuts) -> None:
    """Make sure that a generator can be perturbed.

    Raises:
        ConfigError: It has no thresholds, and they are to be shifted.
    """
    if any(params.shifts) and not isinstance(generator, Shiftable):
        raise ConfigError(
            f"confidence.shifts: generator={generator.name} has no thresholds to shift; give "
            "'confidence.shifts=[0,0,0,0]', which perturbs the features alone"
        )


def confidence_maps(
    generator: Generator,
    images: UInt8[Tensor, "batch 3 height width"],
    features: Features,
    found: Sequence[Candidates],
    *,
    params: PerturbedCuts,
) -> list[UInt8[Tensor, "_ _ _"]]:
    """The confidence of each patch of each candidate, 0 to 255 for 0 to 1.

    Args:
        generator: Has found the candidates.
        images: RGB, 0..255.
        features: Of these images.
        found: The candidates of each image.
        params: How the generator is perturbed.
    """
    runs = [_run(number, generator, images, features, params) for number in range(len(params.shifts))]
    return [
        (agreement(one.masks, [run[i].masks for run in runs]) * CERTAIN).round().to(torch.uint8)
        for i, one in enumerate(found)
    ]


def _run(
    number: int,
    generator: Generator,
    images: UInt8[Tensor, "batch 3 height width"],
    features: Features,
    params: PerturbedCuts,
) -> list[Candidates]:
    step = params.shifts[number]
    perturbed = generator.shifted(step) if step and isinstance(generator, Shiftable) else generator
    if not params.noise:
        return perturbed.propose(images, features)
    noisy = {
        name: add_noise(grid, params.noise, key=(params.seed, number, crc32(name.encode())))
        for name, grid in features.items()
    }
    return perturbed.propose(images, noisy)


def agreement(masks: Bool[Tensor, "masks h w"], runs: Sequence[Bool[Tensor, "_ h w"]]) -> Float[Tensor, "masks h w"]:
    """Share of cuts, a mask's own and one of each run, that say the same of a patch as the mask.

    Args:
        masks: Of one image.
        runs: Those of each run, any number; where none meets a mask, the run has nothing there.
    """
    agreeing = torch.ones_like(masks, dtype=torch.float32)
    for others in runs:
        matched = torch.zeros_like(masks)
        if len(others):
            shared = mask_intersections(masks, others)
            united = masks.flatten(1).sum(1)[:, None] + others.flatten(1).sum(1) - shared
            iou, best = (shared / united.clamp(min=1)).max(1)
            matched = others[best] & (iou > 0)[:, None, None]
        agreeing += matched == masks
    share: Tensor = agreeing / (1 + len(runs))
    return share


def add_noise(
    grid: Float[Tensor, "batch dim h w"], noise: float, *, key: Sequence[int]
) -> Float[Tensor, "batch dim h w"]:
    """Features with a random vector added to each patch, `noise` times as long as they are on average.

    It depends on the key and the size of the grid alone, so that neither the batch nor the device plays a part.
    """
    dim, h, w = grid.shape[1:]
    vectors = torch.randn(dim, h, w, generator=seeded(*key)).to(grid.device, grid.dtype)
    lengths = torch.linalg.vector_norm(grid, dim=1, keepdim=True)
    noisy: Tensor = grid + noise / dim**0.5 * lengths * vectors
    return noisy
