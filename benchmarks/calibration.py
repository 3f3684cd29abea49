"""How far scores of MaskCut's masks are probabilities, before and after calibration, on generated scenes.

    python benchmarks/calibration.py [--scenes 80] [--figure docs/images/reliability.svg]

Half of the scenes fit the map, the other half measure it. A mask is right from IoU 0.5 on. `--figure` draws both.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from offline_masks import SCENE_SEED, find, read

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco import rle
from cutler_pl.coco.records import group_by_image
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation.calibration import Reliability, fit_isotonic, is_right, reliability
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.visual.calibration import plot_reliability
from cutler_pl.visual.curves import save_figure


def main() -> None:
    """Print both diagrams and the fitted map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scenes(root / "images", args.scenes, SceneParams(), seed=SCENE_SEED)
        images, scores, right = measured(root / "images", read(root / "annotations.json"))
    held_out = images >= np.median(images)
    mapped = fit_isotonic(scores[~held_out], right[~held_out])
    print(f"{args.scenes} scenes, {len(scores)} masks, {100 * right.mean():.0f} % right; {held_out.sum()} measured")
    diagrams = {
        "as written": reliability(scores[held_out], right[held_out], num_bins=5),
        "calibrated": reliability(mapped(scores[held_out]), right[held_out], num_bins=5),
    }
    for title, diagram in diagrams.items():
        show(title, diagram)
    if args.figure is not None:
        save_figure(args.figure, plot_reliability(diagrams))
    print("map: " + ", ".join(f"{score:.1f} -> {value:.2f}" for score, value in table(mapped)))


def measured(root: Path, coco: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, score and rightness of every mask."""
    option, known = read_maskcut_option("patch_descriptors"), MaskCutParams.__dataclass_fields__
    params = MaskCutParams(**{key: value for key, value in option.items() if key in known})
    predictor = MaskCutPredictor(build_feature_extractor(**option["features"]), params, solver=option["solver"])
    truth = group_by_image(coco["annotations"])
    found = group_by_image(find(predictor, root, coco["images"], option["fixed_size"]))
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for record in coco["images"]:
        size_hw = record["height"], record["width"]
        masks, objects = (
            [rle.to_rle(one["segmentation"], *size_hw) for one in of.get(record["id"], [])] for of in (found, truth)
        )
        scores = np.array([one["score"] for one in found.get(record["id"], [])])
        right = is_right(rle.iou(masks, objects).reshape(len(masks), len(objects)), scores)
        columns.append((np.full(len(masks), record["id"]), scores, right))
    images, all_scores, all_right = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return images, all_scores, all_right


def show(title: str, diagram: Reliability) -> None:
    """One line per bin."""
    print(f"{title}: expected calibration error {diagram.expected_error:.3f}")
    for count, score, precision in zip(diagram.counts, diagram.mean_scores, diagram.precisions, strict=True):
        print(f"  {count:4d} masks" + (f", mean score {score:.2f}, right {precision:.2f}" if count else ""))


def table(mapped: Any) -> list[tuple[float, float]]:
    """The map at tenths."""
    points = np.arange(11) / 10
    return list(zip(points.tolist(), mapped(points).tolist(), strict=True))


if __name__ == "__main__":
    main()
