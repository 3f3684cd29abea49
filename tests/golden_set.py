"""The recorded numbers of the original: which set is read, and what the compact one holds as a rule instead.

The large set is read where it is present ($CUTLER_GOLDEN, else ../shared/golden), else the compact one of
`tests/golden`. Both have the same file names and keys; `tests/golden/README.md` lists the differences.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COMPACT = Path(__file__).with_name("golden")
_LARGE = ROOT.parent / "shared" / "golden"

GOLDEN = Path(os.environ.get("CUTLER_GOLDEN") or (_LARGE if _LARGE.is_dir() else COMPACT))
"""The folder that golden tests read."""
if not (GOLDEN / "detector").is_dir():
    raise pytest.UsageError(f"CUTLER_GOLDEN={GOLDEN} is no folder of golden numbers; leave it unset for {COMPACT}")


def names(pattern: str) -> list[str]:
    """The stems of the files that the set holds for a pattern, sorted."""
    found = sorted(path.stem for path in GOLDEN.glob(pattern))
    assert found, pattern
    return found


def assert_entries(
    found: np.ndarray, arrays: Mapping[str, np.ndarray], key: str, *, rtol: float = 0.0, atol: float = 0.0
) -> None:
    """Compare with a recorded array, or with every n-th of its entries and its sums where it is stored so."""
    recorded = arrays[key].astype(np.promote_types(arrays[key].dtype, np.float32))
    if f"{key}_every" not in arrays:
        np.testing.assert_allclose(found, recorded, rtol=rtol, atol=atol)
        return
    flat = np.asarray(found, dtype=np.float64).ravel()
    np.testing.assert_allclose(flat[:: int(arrays[f"{key}_every"])], recorded, rtol=rtol, atol=atol)
    total, absolute, norm = arrays[f"{key}_sums"]
    assert abs(flat.sum() - total) <= flat.size * atol + rtol * absolute
    assert abs(np.linalg.norm(flat) - norm) <= flat.size**0.5 * atol + rtol * norm


def synthetic_features(rule: Mapping[str, Any], grid: int = 60) -> np.ndarray:
    """Patch features (dim, patches) of ellipses on a background, in half precision, as the recorded cuts had them."""
    rng = np.random.default_rng(rule["seed"])
    dim, blobs, bands = rule.get("D", 64), rule["blobs"], rule.get("bgk", 1)
    y, x = np.mgrid[:grid, :grid]
    label = x * bands // grid if bands > 1 else np.zeros((grid, grid), int)
    for blob in range(blobs):
        if "layout" in rule:
            (cy, cx, ry, rx), angle = rule["layout"][blob], 0.0
        else:
            (cy, cx), (ry, rx) = rng.uniform(0.15, 0.85, 2), rng.uniform(0.08, 0.2, 2)
            angle = rng.uniform(0, np.pi)
        dy, dx = (y + 0.5) / grid - cy, (x + 0.5) / grid - cx
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
        label[(u / rx) ** 2 + (v / ry) ** 2 <= 1] = bands + blob
    directions = rng.normal(size=(bands + blobs, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    common = rng.normal(size=dim)
    common /= np.linalg.norm(common)
    noise = rng.normal(size=(grid**2, dim)) / np.sqrt(dim)
    features = directions[label.ravel()] + rule.get("common", 0.0) * common + rule["noise"] * noise
    return np.ascontiguousarray(features.astype(np.float16).T)


def recorded_cut(folder: Path, case: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a recorded cut, its features among them: `feats`, float16 (dim, patches)."""
    facts = json.loads((folder / f"{case}.json").read_text())
    with np.load(folder / f"{case}.npz") as file:
        arrays = dict(file)
    if "feats" not in arrays:
        arrays["feats"] = synthetic_features(facts["rule"], facts["grid"])
    assert zlib.crc32(arrays["feats"].tobytes()) == facts["feats_crc32"], f"{case}: other features than the recorded"
    return facts, arrays


def sample_image(name: str) -> np.ndarray:
    """One of scikit-image's sample images, from its wheel and free of copyright, (height, width, 3) uint8."""
    path = Path(skimage.__file__).parent / "data" / f"{name}.png"
    return np.array(Image.open(path).convert("RGB"))


def square_sample(name: str, side: int = 480) -> np.ndarray:
    """The same, resized as the original resizes its input."""
    return np.array(Image.fromarray(sample_image(name)).resize((side, side), Image.Resampling.LANCZOS))


def case_image(folder: Path, name: str) -> np.ndarray:
    """An image that numbers were recorded for: a file of the folder, else one of scikit-image's."""
    path = folder / name
    return np.array(Image.open(path).convert("RGB")) if path.is_file() else square_sample(name.removesuffix("_480.png"))


def pipeline_dataset(folder: Path, copy: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """A folder of images, the features (dim, patches) of each by its path, and the annotations recorded for them.

    Args:
        folder: The recorded numbers.
        copy: Where the folder of images is made if only their rule is recorded.
    """
    if (folder / "dataset").is_dir():
        features = {}
        for path in (folder / "features").glob("*.npz"):
            parent, stem = path.stem.split("__")
            features[f"{parent}/{stem}.JPEG"] = np.load(path)["feats"]
        return folder / "dataset", features, json.loads((folder / "merged.json").read_text())
    recorded = json.loads((folder / "sample_images.json").read_text())
    for name, source in recorded["images"].items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if source == "noise":
            pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(copy / name)
        elif source == "broken":
            (copy / name).write_bytes(b"not an image")
        else:
            Image.fromarray(sample_image(source)).save(copy / name)
    return copy, {k: synthetic_features(rule) for k, rule in recorded["features"].items()}, recorded["annotations"]


def vit_weights(shapes: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    """The weights with which the recorded features of a transformer were made, by the rule of the recordings."""
    state = {}
    for key, shape in shapes.items():
        noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        if key.endswith("bias"):
            noise = 0.01 * noise
        elif "norm" in key and key.endswith("weight"):
            noise = 1 + 0.02 * noise
        else:
            noise = 0.02 * noise
        state[key] = noise.astype(np.float32)
    return state
