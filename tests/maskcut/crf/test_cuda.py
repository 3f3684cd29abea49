"""The dense CRF's kernels, run as they are on the CPU, beside the CPU's own."""

import json
from pathlib import Path

import golden_set
import numpy as np
import pytest
import torch
from cuda_twin import CpuTwin

from cutler_pl.coco import rle as rle_codec
from cutler_pl.errors import OptionalDependencyError
from cutler_pl.maskcut.crf import CrfParams, lattice, numba, refine_masks
from cutler_pl.maskcut.crf.cuda import CudaCrf, mean_field
from cutler_pl.maskcut.crf.lattice_cuda import SOURCE, build_lattice


@pytest.fixture(scope="module")
def twin() -> CpuTwin:
    return CpuTwin(SOURCE)


def scenes(count: int, size_hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images with a bright disc each, and a rough square around it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    images, masks = [], []
    for i in range(count):
        radius = min(size_hw) * (0.2 + 0.05 * i)
        distance = np.hypot(y - size_hw[0] * 0.5, x - size_hw[1] * (0.3 + 0.1 * i))
        image = np.where((distance < radius)[..., None], 200.0, 60.0) + rng.normal(0, 4, (*size_hw, 3))
        images.append(image.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
        masks.append(np.stack([distance < 0.8 * radius, distance < 1.2 * radius, distance < 0]))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


@pytest.mark.parametrize("dim", [2, 5])
def test_filter_equals_cpu_lattice_bitwise(dim: int, twin: CpuTwin) -> None:
    rng = np.random.default_rng(dim)
    features = rng.uniform(-6, 6, (3, 400, dim)).astype(np.float32)
    values = rng.normal(size=(3, 400, lattice.LANES)).astype(np.float32)
    together = build_lattice(torch.from_numpy(features), [6.0] * dim, kernels=twin)
    filtered = together.filter(torch.from_numpy(values).view(1, 1200, -1)).view(3, 400, -1)
    for i in range(3):
        expected = lattice.build_lattice(features[i]).filter(values[i])
        assert np.array_equal(filtered[i].numpy(), expected)


def test_share_lattice_between_groups(twin: CpuTwin) -> None:
    features = torch.rand(1, 60, 2) * 9
    values = torch.randn(3, 60, 5)
    shared = build_lattice(features, [9.0, 9.0], kernels=twin)
    filtered = shared.filter(values)
    for i in range(3):
        assert torch.equal(filtered[i], shared.filter(values[i : i + 1].contiguous())[0])


def test_batch_probabilities_equal_cpu(twin: CpuTwin) -> None:
    images, masks = scenes(3, (41, 57))
    found = mean_field(images, masks, CrfParams(), kernels=twin)
    for i in range(3):
        expected = numba.mean_field(images[i].permute(1, 2, 0).numpy(), masks[i].numpy(), CrfParams())
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=2e-5)


@pytest.mark.golden
def test_kernels_give_original_pixels(golden_dir: Path, twin: CpuTwin) -> None:
    folder = golden_dir / "maskcut" / "crf"
    backend = CudaCrf(CrfParams(), kernels=twin)
    cases = json.loads((folder / "crf_cases.json").read_text())
    assert cases
    for case in cases:
        pixels = golden_set.case_image(folder, case["image_png"])
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        given = torch.from_numpy(rle_codec.decode(case["mask_in_rle"]))[None, None]
        refined = refine_masks(images, given, backend=backend)[0, 0].numpy()
        filled = rle_codec.decode(case["filled_rle"])
        np.testing.assert_array_equal(refined, filled if case["kept"] else np.zeros_like(filled), case["name"])


def test_cuda_backend_refuses_cpu_images() -> None:
    """The message names the backend that works."""
    images, masks = scenes(1, (8, 8))
    with pytest.raises(OptionalDependencyError, match=r"crf.backend=numba"):
        refine_masks(images, masks, backend="cuda")


@pytest.mark.gpu
def test_gpu_masks_equal_cpu() -> None:
    images, masks = scenes(5, (120, 97))
    there = refine_masks(images.cuda(), masks.cuda(), backend="cuda").cpu()
    here = refine_masks(images, masks, backend="numba")
    assert int((there != here).sum()) <= 2  # a pixel whose probability is 0.5 within rounding
