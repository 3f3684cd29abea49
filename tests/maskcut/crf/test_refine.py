import json
import math
from pathlib import Path

import golden_set
import numpy as np
import pytest
import torch

from cutler_pl.coco import rle as rle_codec
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.crf import CrfParams, refine_masks
from cutler_pl.maskcut.crf.lattice import LANES, build_lattice
from cutler_pl.maskcut.crf.numba import mean_field


def scene(size_hw: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with a bright noisy disc, and the disc's mask."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    disc = (y - size_hw[0] * 0.5) ** 2 + (x - size_hw[1] * 0.4) ** 2 < (min(size_hw) * 0.3) ** 2
    noise = np.random.default_rng(seed).normal(0, 3, (*size_hw, 3))
    image = np.where(disc[..., None], 200.0, 60.0) + noise
    return image.clip(0, 255).astype(np.uint8), disc


def as_batch(image: np.ndarray, *masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(np.stack(masks))[None]


def read_rle(rle: dict) -> np.ndarray:
    return rle_codec.decode(rle)


def slow_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The lattice by definition, with a dictionary of integer points and float64."""
    pixels, dim = features.shape
    corners = dim + 1
    basis = np.zeros((corners, dim))  # columns: orthogonal directions in the hyperplane of coordinate sum 0
    for i in range(dim):
        basis[: i + 1, i], basis[i + 1, i] = 1, -(i + 1)
    basis *= math.sqrt(2 / 3) * corners / np.sqrt([(i + 1) * (i + 2) for i in range(dim)])
    points: dict[tuple[int, ...], float] = {}
    places = []
    for p in range(pixels):
        elevated = basis @ features[p]
        base = np.rint(elevated / corners).astype(int) * corners
        residue = elevated - base
        for _ in range(abs(int(base.sum())) // corners):  # walk to the hyperplane along the largest residue
            if base.sum() > 0:
                i = int(np.argmin(residue))
                base[i] -= corners
            else:
                i = int(np.argmax(residue))
                base[i] += corners
            residue = elevated - base
        order = np.argsort(-residue, kind="stable")
        descending = residue[order]
        share = [1 - (descending[0] - descending[-1]) / corners]
        share += [(descending[corners - 1 - k] - descending[corners - k]) / corners for k in range(1, corners)]
        place = []
        for k in range(corners):
            vertex = base + k
            vertex[order[corners - k :]] -= corners
            place.append((tuple(vertex.tolist()), share[k]))
            points[place[-1][0]] = points.get(place[-1][0], 0.0) + share[k] * values[p]
        places.append(place)
    for j in range(corners):
        step = np.ones(corners, int)
        step[j] -= corners
        points = {
            v: x + 0.5 * (points.get(tuple((v + step).tolist()), 0.0) + points.get(tuple((v - step).tolist()), 0.0))
            for v, x in points.items()
        }
    return np.array([sum(w * points[v] for v, w in place) for place in places]) / (1 + 2.0**-dim)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_lattice_equals_definition(dim: int) -> None:
    rng = np.random.default_rng(dim)
    features = rng.normal(0, 2, (150, dim)).astype(np.float32)
    values = rng.normal(size=(150, LANES)).astype(np.float32)
    filtered = build_lattice(features).filter(values)
    for lane in range(LANES):
        np.testing.assert_allclose(filtered[:, lane], slow_filter(features, values[:, lane]), rtol=1e-4, atol=1e-4)


def test_lattice_weights_are_barycentric() -> None:
    features = np.random.default_rng(0).uniform(-40, 40, (2000, 5)).astype(np.float32)
    lattice = build_lattice(features)
    np.testing.assert_allclose(lattice.weights.sum(1), 1, atol=1e-4)
    assert lattice.weights.min() > -1e-4
    assert lattice.vertices.max() == lattice.num_vertices - 1


def test_one_dimensional_lattice_is_gaussian() -> None:
    features = np.arange(-200, 201, dtype=np.float32)[:, None] / 10
    impulse = np.zeros((401, LANES), np.float32)
    impulse[200] = 1
    response = build_lattice(features).filter(impulse)[:, 0].astype(np.float64)
    response /= response.sum()
    deviation = math.sqrt((response * features[:, 0] ** 2).sum())
    assert deviation == pytest.approx(1, abs=0.15)


def test_lattice_refuses_too_large_features() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        build_lattice(np.full((2, 5), 1e6, np.float32))


def test_fit_blocky_mask_to_edge() -> None:
    image, disc = scene((64, 80))
    blocky = disc[::8, ::8].repeat(8, 0).repeat(8, 1)
    refined = refine_masks(*as_batch(image, blocky))[0, 0].numpy()
    assert (refined & disc).sum() / (refined | disc).sum() > 0.98 > (blocky & disc).sum() / (blocky | disc).sum()


def test_reject_unsupported_mask() -> None:
    image, disc = scene((64, 64))
    sparse = np.random.default_rng(0).random(disc.shape) < 0.02
    refined = refine_masks(*as_batch(image, sparse, disc))[0]
    assert not refined[0].any()
    assert refined[1].any()


def test_masks_refined_independently() -> None:
    image, disc = scene((40, 56))
    masks = [disc, np.roll(disc, 6, 1), np.zeros_like(disc), ~disc, np.roll(disc, 4, 0)]  # more than one register
    images, together = as_batch(image, *masks)
    alone = torch.cat([refine_masks(images, together[:, i : i + 1]) for i in range(len(masks))], 1)
    assert torch.equal(refine_masks(images, together), alone)


def test_images_refined_independently() -> None:
    """The images of a batch do not affect each other, and the inputs stay unchanged."""
    pairs = [as_batch(*scene((33, 47), seed)) for seed in range(3)]
    images, masks = torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])
    before = images.clone(), masks.clone()
    refined = refine_masks(images, masks)
    assert torch.equal(refined, torch.cat([refine_masks(*pair) for pair in pairs]))
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (2, 3), (31, 17)])
def test_any_size_and_constant_images(size_hw: tuple[int, int]) -> None:
    image = np.full((*size_hw, 3), 255, np.uint8)
    full, empty = np.ones(size_hw, bool), np.zeros(size_hw, bool)
    refined = refine_masks(*as_batch(image, full, empty))[0]
    assert refined[0].all()
    assert not refined[1].any()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_empty_batch_gives_empty_result(shape: tuple[int, int]) -> None:
    images = torch.zeros(shape[0], 3, 8, 8, dtype=torch.uint8)
    masks = torch.zeros(*shape, 8, 8, dtype=torch.bool)
    assert refine_masks(images, masks).shape == masks.shape


def test_refuse_unknown_backend() -> None:
    with pytest.raises(ConfigError, match=r"'cuda_9'.*numba"):
        refine_masks(*as_batch(*scene((8, 8))), backend="cuda_9")


def test_backend_object_and_half_iou() -> None:
    """A backend may be an object; an IoU of exactly one half is accepted."""

    class Halves:
        params = CrfParams()

        def segment(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            half = masks.clone()
            half[..., : masks.shape[-1] // 2] = False
            return half

    image = np.zeros((4, 8, 3), np.uint8)
    even = np.ones((4, 8), bool)
    odd = even.copy()
    odd[0, 0] = False  # 16 of 31 pixels stay: accepted; 16 of 33 would not be
    more = even.copy()
    more[0, 7] = False  # 15 of 31
    refined = refine_masks(*as_batch(image, even, odd, more), backend=Halves())[0]
    assert [int(mask.sum()) for mask in refined] == [16, 16, 0]


def golden_cases(golden_dir: Path) -> list[dict]:
    return json.loads((golden_dir / "maskcut/crf/crf_cases.json").read_text())


@pytest.mark.golden
def test_crf_gives_original_pixels(golden_dir: Path) -> None:
    folder = golden_dir / "maskcut/crf"
    for case in golden_cases(golden_dir):
        image = golden_set.case_image(folder, case["image_png"])
        mask = read_rle(case["mask_in_rle"])
        probability = mean_field(image, mask[None], CrfParams())[0]
        with np.load(folder / f"{case['name']}_Q.npz") as expected:
            golden_set.assert_entries(probability, expected, "Q", atol=1e-3)
        assert ((probability > 0.5) != read_rle(case["crf_rle"])).sum() == 0, case["name"]
        refined = refine_masks(*as_batch(image, mask))[0, 0].numpy()
        filled = read_rle(case["filled_rle"])
        np.testing.assert_array_equal(refined, filled if case["kept"] else np.zeros_like(filled), case["name"])
