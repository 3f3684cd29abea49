"""MaskCut on a GPU, with its kernels and without them, gives the numbers of the original."""

import json
from dataclasses import replace
from pathlib import Path

import golden_set
import numpy as np
import pytest
import torch
from recorded_cuts import CASES, compare, recorded_masks

from cutler_pl.coco import rle as rle_codec
from cutler_pl.maskcut import MaskCutParams, MaskCutResult, maskcut
from cutler_pl.maskcut.crf import CrfParams, build_crf_backend, refine_masks
from cutler_pl.maskcut.crf.cuda import mean_field
from cutler_pl.maskcut.crf.lattice_cuda import SOURCE
from cutler_pl.runtime import cuda_kernels

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["kernels", "torch"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With CuPy's kernels, and as where CuPy is not installed."""
    if request.param == "torch":
        monkeypatch.setattr(cuda_kernels, "cupy_or_none", lambda: None)
    return request.param


def on_cpu(result: MaskCutResult) -> MaskCutResult:
    return replace(
        result,
        masks=result.masks.cpu(),
        eigenvectors=result.eigenvectors.cpu(),
        ncut_values=result.ncut_values.cpu(),
    )


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_masks_equal_original(case: str, kernels: str, recorded) -> None:
    facts, arrays, features = recorded(case)
    params = MaskCutParams(tau=facts["tau"], num_masks=facts["N"])
    compare(facts, arrays, on_cpu(maskcut(features.cuda(), params, solver="lanczos")))


@pytest.mark.golden
def test_batch_masks_equal_original(kernels: str, recorded) -> None:
    read = [recorded(case) for case in CASES]
    alike = [(f, a, x) for f, a, x in read if (x.shape, f["tau"], f["N"]) == (read[0][2].shape, 0.15, 3)]
    assert len(alike) >= 3
    result = maskcut(torch.cat([features for _, _, features in alike]).cuda(), MaskCutParams(), solver="lanczos")
    for i, (facts, arrays, _) in enumerate(alike):
        assert {m.tobytes() for m in result.masks[i].cpu().numpy()} == {
            m.tobytes() for m in recorded_masks(facts, arrays)
        }


@pytest.mark.golden
def test_crf_gives_original_pixels(golden_dir: Path) -> None:
    folder = golden_dir / "maskcut" / "crf"
    backend = build_crf_backend("auto")
    of_crf = cuda_kernels.kernels_for(SOURCE, torch.device("cuda"))
    assert of_crf is not None
    for case in json.loads((folder / "crf_cases.json").read_text()):
        pixels = golden_set.case_image(folder, case["image_png"])
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None].cuda()
        given = torch.from_numpy(rle_codec.decode(case["mask_in_rle"]))[None, None].cuda()
        with np.load(folder / f"{case['name']}_Q.npz") as expected:
            probability = mean_field(images, given, CrfParams(), kernels=of_crf)[0, 0].cpu().numpy()
            golden_set.assert_entries(probability, expected, "Q", atol=1e-3)
        refined = refine_masks(images, given, backend=backend)[0, 0].cpu().numpy()
        filled = rle_codec.decode(case["filled_rle"])
        np.testing.assert_array_equal(refined, filled if case["kept"] else np.zeros_like(filled), case["name"])


def test_missing_kernels_are_said_to_be_slow(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cuda_kernels, "cupy_or_none", lambda: None)
    cuda_kernels._warn_once_without_cupy.cache_clear()
    maskcut(torch.randn(1, 8, 6, 6, device="cuda"), MaskCutParams())
    assert "which is slower; pip install 'cutler_pl[gpu]'" in caplog.text
