"""Draws docs/images/confidence.jpg: masks of generated scenes, and how far perturbed cuts agree about their patches.

    python docs/images/confidence.py

Features are `patch_descriptors`; perturbations are the defaults of `confidence=perturbed_cuts`.
"""

from pathlib import Path

import torch

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.datasets.scenes import SceneParams, generate_scene
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.generator import MaskCutGenerator
from cutler_pl.maskcut.params import PerturbedCuts
from cutler_pl.maskcut.predictor import MaskPredictor
from cutler_pl.reports.maskcut import draw_overlay
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image

SIDE = 240
SEEDS = (1, 2, 3, 4)
PARAMS = MaskCutParams(tau=0.8, max_ncut_value=0.2, stop="adaptive", num_masks=5)


def main() -> None:
    """Scene, masks, and the confidence of the least certain mask in each patch."""
    extractors = {"patch_descriptors": build_feature_extractor("patch_descriptors")}
    predictor = MaskPredictor(extractors, MaskCutGenerator(PARAMS), confidence=PerturbedCuts())
    panels, titles = [], []
    for seed in SEEDS:
        image = generate_scene(SceneParams(height=SIDE, width=SIDE), seed=seed).image
        (found,) = predictor.predict(["scene"], torch.from_numpy(image).permute(2, 0, 1)[None])
        is_kept = found.refined.flatten(1).any(1)
        lowest = found.confidence[is_kept].amin(0) / CERTAIN
        panels += [
            image,
            draw_overlay(image, list(found.refined.numpy())),
            draw_heatmap(image, lowest, center=1.0, reach=1.0),
        ]
        titles += ["scene", "masks", "confidence"]
    save_image(Path(__file__).with_name("confidence.jpg"), contact_sheet(panels, titles, columns=6, height=SIDE))


if __name__ == "__main__":
    main()
