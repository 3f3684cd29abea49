"""Confidence of patches: how far perturbed cuts agree."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cutler_pl.coco.confidence import decode
from cutler_pl.errors import ConfigError
from cutler_pl.generators.hassod import Hassod
from cutler_pl.generators.promerge import ProMerge
from cutler_pl.generators.uniap import UniAP
from cutler_pl.generators.votecut import VoteCut
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.confidence import add_noise, agreement, confidence_maps
from cutler_pl.maskcut.encoding import encode_masks, encode_tiles
from cutler_pl.maskcut.generator import Candidates, Features, Generator, MaskCutGenerator
from cutler_pl.maskcut.params import PerturbedCuts
from cutler_pl.maskcut.predictor import ImageMasks, MaskPredictor
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.ops.tiles import Window


def bits(*rows: str) -> Tensor:
    """One mask of one row of patches per text."""
    return torch.tensor([[[letter == "1" for letter in row]] for row in rows]).view(len(rows), 1, -1)


def test_agreement_is_the_share_of_cuts() -> None:
    """Of four: a mask's own and the best of each run, if any meets it."""
    masks = bits("011100", "000011")
    runs = [bits("001111", "111100"), bits("100000", "001100", "010000"), masks[:0]]
    found = agreement(masks, runs) * 4
    assert found[0, 0].tolist() == [3, 2, 3, 3, 4, 4]  # votes: 111100, 001100 and nothing
    assert found[1, 0].tolist() == [4, 4, 3, 3, 2, 2]  # 001111, nothing and nothing


@dataclass(frozen=True)
class Above:
    """Patches whose only feature is above a threshold."""

    threshold: float = 0.4
    name: ClassVar[str] = "above"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy()

    def constants(self) -> dict[str, Any]:
        return asdict(self)

    def shifted(self, step: float) -> "Above":
        return replace(self, threshold=self.threshold + step)

    def propose(self, images: Tensor, features: Features) -> list[Candidates]:
        (grid,) = features.values()
        scores = torch.ones(1, dtype=torch.float64)
        return [Candidates(masks=one > self.threshold, scores=scores, provenance=[{}]) for one in grid]


GRID = torch.tensor([0.1, 0.3, 0.5, 0.7]).view(1, 1, 2, 2)
IMAGE = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


def test_shifted_thresholds_vote() -> None:
    """Above 0.4 of 0.1, 0.3, 0.5, 0.7; with 0.2 and 0.6 one patch more, and one less."""
    features, generator = {"f": GRID}, Above()
    found = generator.propose(IMAGE, features)
    params = PerturbedCuts(shifts=(-0.2, 0.2), noise=0.0)
    (confidence,) = confidence_maps(generator, IMAGE, features, found, params=params)
    assert confidence.tolist() == [[[255, 170], [170, 255]]]


def test_noise_is_a_share_of_the_features() -> None:
    """On average, and of each patch; it does not depend on the batch."""
    grid = torch.rand(2, 400, 5, 6) + 0.1
    grid[:, :, 0] *= 100
    noisy = add_noise(grid, 0.2, key=(0, 1))
    share = (noisy - grid).norm(dim=1) / grid.norm(dim=1)
    torch.testing.assert_close(share, torch.full_like(share, 0.2), rtol=0.15, atol=0)
    assert torch.equal(add_noise(grid[1:], 0.2, key=(0, 1)), noisy[1:])
    assert not torch.equal(add_noise(grid, 0.2, key=(0, 2)), noisy)


def extract(images: Tensor) -> Tensor:
    """Mean colors of cells of 6 pixels, and noise that depends on the colors."""
    cells = torch.nn.functional.avg_pool2d(images, 6) - 0.5
    return torch.cat([cells, cells.sin() * cells.flip(1)], 1)


@pytest.mark.parametrize(
    "generator",
    [MaskCutGenerator(MaskCutParams(tau=0.6)), VoteCut(taus=(0.6,), min_patches=2), UniAP(min_patches=2)],
    ids=lambda generator: generator.name,
)
def test_batch_equals_single_images(generator: Generator) -> None:
    """In any order; values are quarters, of which one cut is the mask's own."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 5, 5, generator=draw)
    images = (torch.nn.functional.interpolate(coarse, (48, 48)) * 255).to(torch.uint8)
    params = PerturbedCuts(shifts=(-0.2, 0.0, 0.2), noise=0.3)
    predictor = MaskPredictor({"p": extract}, generator, backend="none", confidence=params)
    together = predictor.predict(["a", "b", "c"], images)
    backwards = predictor.predict(["c", "b", "a"], images.flip(0))[::-1]
    values = set()
    for number, (one, other) in enumerate(zip(together, backwards, strict=True)):
        (alone,) = predictor.predict(["x"], images[number : number + 1])
        for again in (other, alone):
            assert torch.equal(one.confidence, again.confidence)
        assert one.confidence.shape == one.coarse.shape
        values |= set(one.confidence.unique().tolist())
    assert {255} < values <= {64, 128, 191, 255}
    plain = MaskPredictor({"p": extract}, generator, backend="none").predict(["a", "b", "c"], images)
    assert plain[0].confidence is None
    assert torch.equal(plain[0].coarse, together[0].coarse)


@pytest.mark.parametrize(
    ("generator", "field", "up", "far"),
    [
        (VoteCut(taus=(0.1, 0.5)), "taus", (0.2, 0.6), (1.0, 1.0)),
        (UniAP(taus=(0.8, 0.4)), "taus", (0.9, 0.5), (1.0, 1.0)),
        (Hassod(thresholds=(0.4, 0.2)), "thresholds", (0.5, 0.3), (1.0, 1.0)),
        (ProMerge(tau=0.2), "tau", (0.3,), (1.0,)),
        (MaskCutGenerator(MaskCutParams(tau=0.2)), "tau", (0.3,), (0.999,)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_shift_thresholds(generator: Any, field: str, up: Sequence[float], far: Sequence[float]) -> None:
    """Within what they can be."""
    for step, expected in ((0.1, up), (1.0, far)):
        shifted = generator.shifted(step)
        found = np.atleast_1d(getattr(getattr(shifted, "params", shifted), field))
        assert found.tolist() == pytest.approx([*expected])
    assert generator.shifted(-1.0).constants()


class Fixed:
    """A generator without thresholds."""

    name: ClassVar[str] = "fixed"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy()

    def constants(self) -> dict[str, Any]:
        return {}

    def propose(self, images: Tensor, features: Features) -> list[Candidates]:
        return Above().propose(images, features)


def test_refuse_generator_without_thresholds() -> None:
    """Noise alone goes."""
    with pytest.raises(ConfigError, match="generator=fixed has no thresholds to shift"):
        MaskPredictor({"p": extract}, Fixed(), confidence=PerturbedCuts())
    noise = PerturbedCuts(shifts=(0.0,))
    predictor = MaskPredictor({"p": lambda images: images[:, :1]}, Fixed(), backend="none", confidence=noise)
    (found,) = predictor.predict(["a"], IMAGE + 200)
    assert found.confidence.eq(255).all()


@pytest.mark.parametrize("values", [{"shifts": (2.0,)}, {"shifts": ()}, {"noise": -1.0}, {"seed": -1}])
def test_refuse_bad_perturbations(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"confidence\.{next(iter(values))}"):
        PerturbedCuts(**values)


def found_in(size: int, confidence: Tensor | None) -> ImageMasks:
    refined = torch.zeros(1, size, size, dtype=torch.bool)
    refined[:, size // 4 : size // 2, size // 4 : size // 2] = True
    one = torch.ones(1, dtype=torch.float64)
    return ImageMasks(
        name="a.jpg", image=torch.zeros(3, size, size, dtype=torch.uint8), coarse=refined[:, ::4, ::4],
        refined=refined, scores=one, agreements=one, provenance=[{}], dropped={}, maps={}, confidence=confidence,
    )  # fmt: skip


def test_annotations_get_the_doubtful_part() -> None:
    """4×4 patches of 16 pixels on an image of 40×80: rows 1 and 2, column 3; in a tile, moved with it."""
    confidence = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    confidence[0, 1:3, 3] = torch.tensor([51, 102], dtype=torch.uint8)
    (annotation,), _ = encode_masks(found_in(16, confidence), (40, 80))
    found = decode(annotation["confidence_map"])
    assert found.values.tolist() == [[51], [102]]
    assert found.bbox == (60.0, 10.0, 20.0, 20.0)
    tiles = [found_in(16, confidence), found_in(16, None)]
    windows = [Window(100, 200, 116, 216), Window(300, 200, 316, 216)]
    (first, second), _ = encode_tiles(tiles, windows, (400, 400))
    assert decode(first["confidence_map"]).bbox == (212.0, 104.0, 4.0, 8.0)
    assert "confidence_map" not in second
    (certain,), _ = encode_masks(found_in(16, torch.full((1, 4, 4), 255, dtype=torch.uint8)), (40, 80))
    assert "confidence_map" not in certain
