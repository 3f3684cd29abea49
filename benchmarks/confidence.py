"""What the confidence of `confidence=perturbed_cuts` knows, on generated scenes: of masks, and of their pixels.

    python benchmarks/confidence.py [--scenes 40] [--generators maskcut promerge uniap]

Per generator: how often a right mask (IoU from 0.5 on) has more than a wrong one (area under the ROC curve), by mean
confidence and by score, and how many masks a least mean confidence keeps; the same for right and wrong pixels in the
boxes of right masks, where the mask loss reads them; then the share of wrong pixels, by their confidence.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools

import numpy as np
import torch
from hydra import initialize_config_dir
from ladder_masks import find_masks, settings_of
from scipy.stats import rankdata

from cutler_pl.coco import confidence, rle
from cutler_pl.coco.records import group_by_image
from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.maskcut import build_predictor
from cutler_pl.data.pixel_confidence import draw_confidence
from cutler_pl.data.transforms import TransformParams
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation.calibration import is_right
from cutler_pl.runtime.config_tree import config_dir

SEED = 5000
"""Of the scenes on which options are tuned, which no table of the ladder uses."""
EDGES = (0.0, 0.5, 0.75, 0.99, 1.01)
LEAST = (0.6, 0.7, 0.75, 0.8, 0.9)


def main() -> None:
    """Print one line per generator and bin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--generators", nargs="+", default=["maskcut", "votecut", "promerge", "uniap", "hassod"])
    parser.add_argument("--settings", nargs="+", default=[], help="of cutler maskcut, such as confidence.noise=0.05")
    args = parser.parse_args()
    torch.set_num_threads(1)
    register_params()
    os.environ.setdefault("PROJECT_ROOT", str(config_dir().parent))
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(config_dir()), version_base="1.3"):
        write_scenes(Path(folder) / "images", args.scenes, SceneParams(), seed=SEED)
        for generator in args.generators:
            report([f"generator={generator}", *args.settings], Path(folder))


def report(settings: Sequence[str], folder: Path) -> None:
    """Find the masks of a generator, and compare them with the ground truth."""
    cfg = settings_of(["confidence=perturbed_cuts", *settings])
    predictor = build_predictor(cfg)
    coco = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    truth = group_by_image(coco["annotations"])
    scores, means, right, pixels, wrong = [], [], [], [], []
    for record in coco["images"]:
        size_hw = record["height"], record["width"]
        found = find_masks(cfg, predictor, folder / "images", record)
        objects = [rle.to_rle(one["segmentation"], *size_hw) for one in truth.get(record["id"], [])]
        masks = [rle.to_rle(one["segmentation"], *size_hw) for one in found]
        ious = rle.iou(masks, objects).reshape(len(masks), len(objects))
        image_scores = np.array([one["score"] for one in found])
        scores.append(image_scores)
        right.append(is_right(ious, image_scores))
        for one, mask, is_object, row in zip(found, masks, right[-1], ious, strict=True):
            values, inside = pixel_confidence(one, size_hw), rle.decode(mask)
            means.append(values[inside].mean())
            if is_object:
                x, y, width, height = map(round, one["bbox"])
                box = slice(y, y + height), slice(x, x + width)
                pixels.append(values[box].ravel())
                wrong.append((rle.decode(objects[int(row.argmax())]) != inside)[box].ravel())
    is_object = np.concatenate(right)
    values, is_wrong = np.concatenate(pixels), np.concatenate(wrong)
    print(
        f"{' '.join(settings)}: {len(is_object)} masks, {100 * is_object.mean():.0f} % right; area under the curve "
        f"{area_under_curve(np.array(means), is_object):.2f} by confidence, "
        f"{area_under_curve(np.concatenate(scores), is_object):.2f} by score, of pixels "
        f"{area_under_curve(values, ~is_wrong):.2f}"
    )
    for least in LEAST:
        kept = np.array(means) >= least
        print(f"  from {least:.2f} on: {100 * kept[is_object].mean():.0f} % of the right masks, ", end="")
        print(f"{100 * kept[~is_object].mean():.0f} % of the others")
    show_pixels(values, is_wrong)


def pixel_confidence(annotation: dict[str, object], size_hw: tuple[int, int]) -> np.ndarray:
    """Confidence of each pixel of an image, from 0 to 1."""
    record = annotation.get("confidence_map")
    maps = {} if record is None else {0: confidence.decode(record)}  # type: ignore[arg-type]
    return draw_confidence(maps, 1, size_hw, TransformParams(size_hw, flip=False))[0].numpy() / confidence.CERTAIN


def area_under_curve(values: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive has the larger value than a negative, ties as half."""
    count = positive.sum()
    return float((rankdata(values)[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


def show_pixels(values: np.ndarray, wrong: np.ndarray) -> None:
    """One line per bin of confidence."""
    for low, high in itertools.pairwise(EDGES):
        chosen = (values >= low) & (values < high)
        if chosen.any():
            share = f"{100 * chosen.mean():5.1f} % of the pixels, {100 * wrong[chosen].mean():4.1f} % of them wrong"
            print(f"  confidence {low:.2f} to {min(high, 1.0):.2f}: {share}")


if __name__ == "__main__":
    main()
