"""Make the compact golden set from the large one: `python tests/golden/make_compact.py ../shared/golden`.

Needs `pip install pydensecrf2` (the dense CRF that the original calls) and, from the root, PYTHONPATH=.:tests. What
cannot be recorded without the original's images is computed on scikit-image's sample images by something other than
the code under test, which first has to give the large set's numbers on the large set's images.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import golden_set
import lightning as L
import numpy as np
import timm
import torch
from torch.nn import functional as F

from cutler_pl.coco import rle
from cutler_pl.images import list_images
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.crf import CrfParams
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.components import fill_holes
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.options import RunOptions

UNREAD = ("_fpn_", "resized_uint8_hwc", "resized_crop", "_bip_", "_cc", "_deg", "label_map")
"""Parts of names of arrays that no test reads, or that follow from others."""
ELLIPSES: dict[str, list[list[float]]] = {
    "astronaut": [[0.68, 0.37, 0.28, 0.26], [0.22, 0.42, 0.17, 0.14], [0.84, 0.78, 0.16, 0.21]],
    "chelsea": [[0.5, 0.42, 0.42, 0.36]],
    "coffee": [[0.27, 0.49, 0.22, 0.19]],
}
"""Center and half axes (y, x, as shares of a side) of objects of scikit-image's sample images."""


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def every(key: str, values: np.ndarray, step: int, dtype: str | None = None) -> dict[str, np.ndarray]:
    """Every `step`-th entry of an array, and sums of all of it."""
    flat = values.astype(np.float64).ravel()
    sums = np.array([flat.sum(), np.abs(flat).sum(), np.linalg.norm(flat)])
    kept = values.ravel()[::step].astype(dtype or values.dtype)
    return {key: kept, f"{key}_every": np.array(step), f"{key}_sums": sums}


def detector(large: Path, out: Path) -> None:
    """Everything but the cases of natural images; of the checksums of weights those that are compared."""
    for path in sorted(large.iterdir()):
        if "demo" in path.name:
            continue
        if path.suffix == ".npz":
            write_arrays(out / path.name, {k: v for k, v in np.load(path).items() if not any(u in k for u in UNREAD)})
        elif path.suffix == ".json" and path.name != "robustness.json":
            value = json.loads(path.read_text())
            if path.name == "weights_checksums.json":
                value["checksums"] = {
                    model: {key: {"sha256_16": entry["sha256_16"]} for key, entry in entries.items()}
                    for model, entries in value["checksums"].items()
                }
            write_json(out / path.name, value)


def cuts(large: Path, out: Path) -> None:
    """Synthetic features as their rule, eigenvectors as every seventh entry; masks whole."""
    for path in sorted(large.glob("c*.json")):
        facts, recorded = golden_set.recorded_cut(large, path.stem)
        arrays = {k: v for k, v in recorded.items() if not any(u in k for u in UNREAD)}
        if facts["kind"] == "s":
            assert np.array_equal(golden_set.synthetic_features(facts["rule"], facts["grid"]), arrays.pop("feats"))
        for key in [key for key in arrays if key.endswith("_vec")]:
            arrays |= every(key, arrays[key], 7)
        for record in facts["rounds"]:
            for key in [k for k in record if k.startswith(("t_", "bipartition_fullres"))]:
                del record[key]
        write_json(out / path.name, facts)
        write_arrays(out / f"{path.stem}.npz", arrays)


@torch.inference_mode()
def vit(large: Path, out: Path) -> None:
    """timm's transformer with position embeddings resampled as the original does; on its image, then on ours."""
    shapes = json.loads((large / "dino_state_dict_keys.json").read_text())
    state = {k: torch.from_numpy(v) for k, v in golden_set.vit_weights(shapes["vit_small_8"]["keys"]).items()}
    scale = (60 + 0.1) / 28
    grid = state["pos_embed"][:, 1:].unflatten(1, (28, 28)).permute(0, 3, 1, 2)
    resampled = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], resampled], dim=1)
    model = timm.create_model("vit_small_patch8_224", num_classes=0, img_size=480).eval()
    model.load_state_dict(state)
    seen: dict[str, torch.Tensor] = {}
    model.blocks[-1].attn.qkv.register_forward_hook(lambda *call: seen.update(qkv=call[2]))

    def keys(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        model((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        return np.ascontiguousarray(seen["qkv"][0, 1:, 384:768].T.numpy())

    recorded = np.load(large / "vits8_k_features.npz")
    np.testing.assert_allclose(keys(golden_set.case_image(large, "demo2_480.png")), recorded["demo2_k"], 2**-11, 1e-5)
    np.testing.assert_allclose(resampled[0], recorded["pos_embed_480"], 2**-11, 1e-7)
    found = keys(golden_set.square_sample("astronaut"))
    half = every("astronaut_k", found, 61, "float16") | every("pos_embed_480", resampled[0].numpy(), 61, "float16")
    write_arrays(out / "vits8_k_features.npz", half)
    facts = {
        "abs_sum": float(np.abs(found.astype(np.float64)).sum()),
        "sq_sum": float(np.square(found.astype(np.float64)).sum()),
        "first8": found.T.ravel()[:8].tolist(),
        "last8": found.T.ravel()[-8:].tolist(),
    }
    checks = json.loads((large / "vits8_k_checks.json").read_text())
    write_json(out / "vits8_k_checks.json", {"astronaut": facts, "pos_embed_480": checks["pos_embed_480"]})
    write_json(out / "dino_state_dict_keys.json", shapes)


class PyDenseCrf:
    """The dense CRF by the library that the original calls, as a backend of `refine_masks`."""

    params = CrfParams()

    def probability(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Of the foreground, (height, width) float32."""
        from pydensecrf import densecrf  # no dependency of the project

        height, width = mask.shape
        inside = np.exp(1) / (1 + np.exp(1))  # softmax of the logits 1 and 0
        foreground = np.where(mask, inside, 1 - inside)
        unary = -np.log(np.stack([1 - foreground, foreground])).reshape(2, -1).astype(np.float32)
        crf = densecrf.DenseCRF2D(width, height, 2)
        crf.setUnaryEnergy(np.ascontiguousarray(unary))
        p = self.params
        crf.addPairwiseGaussian(sxy=p.gaussian_sigma, compat=p.gaussian_weight)
        pixels = np.ascontiguousarray(image)
        crf.addPairwiseBilateral(p.bilateral_sigma, p.color_sigma, pixels, compat=p.bilateral_weight)
        return np.array(crf.inference(p.iterations))[1].reshape(height, width)

    def segment(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """As `CrfBackend` says."""
        refined = [
            np.stack([self.probability(image.permute(1, 2, 0).numpy(), mask.numpy()) > 0.5 for mask in rounds])
            for image, rounds in zip(images, masks, strict=True)
        ]
        return torch.from_numpy(np.stack(refined))


def crf_case(name: str, image: np.ndarray, image_name: str, mask: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    probability = PyDenseCrf().probability(image, mask)
    filled = fill_holes(torch.from_numpy(probability > 0.5)[None])[0].numpy()
    union = (filled | mask).sum()
    kept = bool(union == 0 or (filled & mask).sum() / union >= 0.5)
    facts = {"name": name, "image_png": image_name, "mask_in_rle": rle.encode(mask), "kept": kept}
    return facts | {"crf_rle": rle.encode(probability > 0.5), "filled_rle": rle.encode(filled)}, probability


def crf(large: Path, out: Path) -> None:
    """pydensecrf on the large set's images, which has to give the recorded masks, then on scikit-image's."""
    for case in json.loads((large / "crf_cases.json").read_text()):
        image, mask = golden_set.case_image(large, case["image_png"]), rle.decode(case["mask_in_rle"])
        found, _ = crf_case(case["name"], image, case["image_png"], mask)
        assert all(found[key] == case[key] for key in ("kept", "crf_rle", "filled_rle")), case["name"]
    y, x = (np.mgrid[:60, :60] + 0.5) / 60
    patches = {
        (name if i == 0 else f"{name}{i}"): ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        for name, ellipses in ELLIPSES.items()
        for i, (cy, cx, ry, rx) in enumerate(ellipses)
    }
    patches["coffee_sparse"] = np.random.default_rng(0).random((60, 60)) < 0.02
    patches["coffee_ring"] = patches["coffee"] & (((y - 0.27) / 0.12) ** 2 + ((x - 0.49) / 0.1) ** 2 > 1)
    patches["coffee_empty"] = np.zeros((60, 60), bool)
    cases = []
    for name, patch in patches.items():
        source = "".join(c for c in name.split("_")[0] if c.isalpha())
        image, mask = golden_set.square_sample(source), patch.repeat(8, 0).repeat(8, 1)
        if "_" not in name:  # what a cut finds of an object: the patches that are mostly inside
            fitted = rle.decode(crf_case(name, image, "", mask)[0]["filled_rle"])
            mask = (fitted.reshape(60, 8, 60, 8).mean((1, 3)) > 0.5).repeat(8, 0).repeat(8, 1)
        facts, probability = crf_case(name, image, f"{source}_480.png", mask)
        cases.append(facts)
        write_arrays(out / f"{name}_Q.npz", every("Q", probability, 7, "float16"))
        print(name, "kept" if facts["kept"] else "rejected", int(mask.sum()), rle.area(facts["filled_rle"]))
    write_json(out / "crf_cases.json", cases)


class Features:
    """Gives the images of a folder, in order, the features that were recorded for them."""

    patch_size = 8

    def __init__(self, features: list[np.ndarray]) -> None:
        self._features = iter(features)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        rows = [torch.from_numpy(next(self._features).astype(np.float32)).unflatten(-1, (60, 60)) for _ in images]
        return torch.stack(rows)


def pipeline(large: Path, out: Path) -> None:
    """The files of jobs as they are; a run over sample images, cut by SciPy, refined by pydensecrf."""
    for name in ("jobs", "single_job_two_folders", "merged.json"):
        for path in sorted((large / name).glob("*.json") if (large / name).is_dir() else [large / name]):
            write_json(out / path.relative_to(large), json.loads(path.read_text()))
    images = {
        "n_aa/img_01.png": "astronaut",
        "n_aa/img_02.png": "chelsea",
        "n_aa/img_03_broken.png": "broken",
        "n_aa/img_04_noise.png": "noise",
        "n_bb/img_01.png": "coffee",
    }
    nothing = {"blobs": 0, "noise": 50.0}  # cut at random: the refinement rejects it
    rules = {
        name: {"seed": seed}
        | ({"blobs": len(objects), "noise": 1.5, "layout": objects} if (objects := ELLIPSES.get(source)) else nothing)
        for seed, (name, source) in enumerate(images.items(), 50)
        if source != "broken"
    }
    empty: dict[str, Any] = {"images": images, "features": rules, "annotations": None}
    write_json(out / "sample_images.json", empty)
    with tempfile.TemporaryDirectory() as temporary:
        folder, features, _ = golden_set.pipeline_dataset(out, Path(temporary) / "images")
        root, found = list_images(folder)
        trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        predictor = MaskCutPredictor(
            Features([features[name] for name in found if name in features]),
            MaskCutParams(),
            solver="scipy",
            backend=PyDenseCrf(),
        )
        options = RunOptions(fixed_size=480, batch_size=1, num_workers=0, max_failure_rate=0.3, threads=1)
        generate(root, found, Path(temporary) / "out", predictor=predictor, trainer=trainer, options=options)
        coco = json.loads((Path(temporary) / "out" / "annotations.json").read_text())
    for image in coco["images"]:  # the original exchanges them
        image["width"], image["height"] = image["height"], image["width"]
    print([(i["file_name"], sum(a["image_id"] == i["id"] for a in coco["annotations"])) for i in coco["images"]])
    write_json(out / "sample_images.json", empty | {"annotations": {k: coco[k] for k in ("images", "annotations")}})


PARTS = {
    "detector": ("detector", detector),
    "cuts": ("maskcut/ncut", cuts),
    "vit": ("maskcut/vit", vit),
    "crf": ("maskcut/crf", crf),
    "pipeline": ("maskcut/pipeline", pipeline),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("large", type=Path)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    arguments = parser.parse_args()
    for part in arguments.parts:
        place, make = PARTS[part]
        shutil.rmtree(golden_set.COMPACT / place, ignore_errors=True)
        make(arguments.large / place, golden_set.COMPACT / place)
        print(part, sum(p.stat().st_size for p in (golden_set.COMPACT / place).rglob("*")), "bytes", file=sys.stderr)
