"""Draws docs/images/maskcut_options.jpg: each option of MaskCut beyond the original on a scene where it matters.

    python docs/images/maskcut_options.py

Scenes are generated, features are `patch_descriptors`; for every option the first scene of a fixed order is taken in
which it changes the masks.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cutler_pl.datasets.kind_scenes import KindParams, generate_kind_scene
from cutler_pl.datasets.scenes import SceneParams, generate_scene
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

SIDE = 240
DEFAULT = MaskCutParams(tau=0.5, num_masks=4)
OPTIONS: Sequence[tuple[str, MaskCutParams, AnnotationParams]] = (
    ("stop=adaptive", replace(DEFAULT, stop="adaptive", max_ncut_value=0.2), AnnotationParams()),
    ("annotation.scores=true", DEFAULT, AnnotationParams(scores=True)),
    ("annotation.split_parts=true", DEFAULT, AnnotationParams(split_parts=True)),
    ("annotation.split=watershed", DEFAULT, AnnotationParams(split="watershed")),
    ("annotation.min_area=0.02", DEFAULT, AnnotationParams(min_area=0.02)),
    ("corner_rule=invariant", replace(DEFAULT, corner_rule="invariant"), AnnotationParams()),
)


class Finder:
    """Finds masks in generated scenes."""

    def __init__(self) -> None:
        self._extractor = build_feature_extractor("patch_descriptors")

    def annotations(self, image: np.ndarray, params: MaskCutParams, annotation: AnnotationParams) -> list[dict]:
        """Annotations of one image."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        (masks,) = MaskCutPredictor(self._extractor, params, keep_features=True).predict(["scene"], pixels)
        annotations, _ = encode_masks(masks, (SIDE, SIDE), params=annotation)
        return annotations


def scene(option: str, seed: int) -> np.ndarray:
    """A generated scene, for the split of touching objects one that has some."""
    if option == "annotation.split=watershed":
        few = SceneParams(height=SIDE, width=SIDE, min_objects=3, max_objects=5, max_radius=0.16)
        return generate_kind_scene(few, KindParams(touching=0.8), seed=seed).scene.image
    return generate_scene(SceneParams(height=SIDE, width=SIDE), seed=seed).image


def shows(option: str, before: list[dict], after: list[dict]) -> bool:
    """Whether the option matters here, for eyes too: a split gives parts that can be seen, all else differs."""
    if "split" in option:
        return len(after) > len(before) and min(a["area"] for a in after) > 0.001 * SIDE**2
    return before != after


def main() -> None:
    """Search the scenes and write the sheet."""
    finder = Finder()
    panels, titles = [], []
    for option, params, annotation in OPTIONS:
        for seed in range(120):
            image = scene(option, seed)
            before = finder.annotations(image, DEFAULT, AnnotationParams())
            after = finder.annotations(image, params, annotation)
            if len(before) >= 2 and after and shows(option, before, after):
                panels += [image, *(draw_records(image, found, boxes=False) for found in (before, after))]
                titles += ["scene", "default, N = 4", option]
                break
    save_image(Path(__file__).with_name("maskcut_options.jpg"), contact_sheet(panels, titles, columns=3, height=SIDE))


if __name__ == "__main__":
    main()
