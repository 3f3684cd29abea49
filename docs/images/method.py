"""Draws the figures of docs/explanation/method.md, docs/images/method_*.jpg.

    python docs/images/method.py

Scenes are composed, features are `patch_descriptors`, the detector is `tiny_generated`: all of it is in the package.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from cutler_pl import CutLER
from cutler_pl.coco import rle
from cutler_pl.data.copy_paste import CopyPasteParams, copy_paste
from cutler_pl.datasets.composed.scene import compose_scene
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor
from cutler_pl.models.droploss import droploss_weights
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.self_training import merge_annotations
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.visual.image_files import save_image

FOLDER = Path(__file__).parent
SIDE = 240
PARAMS = MaskCutParams(tau=0.8, num_masks=3)
GREY, GREEN, RED = (120, 120, 120), (60, 200, 90), (235, 90, 60)


def scene(seed: int) -> np.ndarray:
    """A square scene."""
    return compose_scene(SceneParams(height=SIDE, width=SIDE, min_objects=3, max_objects=4), seed=seed).image


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """As models take it."""
    return torch.from_numpy(image).permute(2, 0, 1)


def cut(image: np.ndarray) -> tuple[ImageMasks, torch.Tensor]:
    """MaskCut's result and the features."""
    extractor = build_feature_extractor("patch_descriptors")
    (found,) = MaskCutPredictor(extractor, PARAMS).predict(["scene"], to_tensor(image)[None])
    assert found is not None
    return found, extractor(to_tensor(image)[None].float() / 255)[0]


def found_masks(found: ImageMasks) -> torch.Tensor:
    """The refined masks that are left."""
    return found.refined[found.refined.flatten(1).any(1)]


def maskcut_figure(seed: int) -> None:
    """A row per round: the similarity to the seed patch, the eigenvector, its masks."""
    image = scene(seed)
    found, features = cut(image)
    vectors = F.normalize(features.flatten(1), dim=0)
    panels, titles = [], []
    for number, (vector, coarse, refined) in enumerate(
        zip(found.eigenvectors, found.coarse, found.refined, strict=True), start=1
    ):
        patch = int(vector.flatten().argmax())
        similarity = (vectors[:, patch] @ vectors).reshape(vector.shape)
        grid = np.kron(coarse.numpy(), np.ones((8, 8), dtype=bool))
        panels += [
            draw_heatmap(image, similarity.numpy(), center=PARAMS.tau),
            draw_heatmap(image, vector.numpy()),
            draw_instances(image, grid[None]),
            draw_instances(image, refined.numpy()[None]),
        ]
        titles += [f"{number}: cosine with the seed", "eigenvector", "its component", "after the CRF"]
    save_image(FOLDER / "method_maskcut.jpg", contact_sheet(panels, titles, columns=4, height=SIDE))


def droploss_figure(seed: int, model: CutLER) -> None:
    """Boxes of a detector: those that the classification loss counts, and those that it leaves out."""
    image = scene(seed)
    masks = found_masks(cut(image)[0])
    boxes = model.predict(image, score_threshold=0.2).boxes
    weights = droploss_weights(boxes, masks_to_boxes(masks), 0.01)
    colors = np.array([GREEN if weight else RED for weight in weights.tolist()], dtype=np.uint8)
    shown = draw_instances(image, None, boxes=boxes, colors=colors)
    panels = [image, draw_instances(image, masks), shown]
    titles = ["image", "pseudo-masks: two objects missed", "loss kept (green), dropped (red)"]
    save_image(FOLDER / "method_droploss.jpg", contact_sheet(panels, titles, columns=3, height=SIDE))


def copy_paste_figure(seeds: tuple[int, int]) -> None:
    """Two images with their masks, before and after."""
    images = [scene(seed) for seed in seeds]
    targets = []
    for image in images:
        masks = found_masks(cut(image)[0])
        labels = torch.ones(len(masks), dtype=torch.int64)
        targets.append({"boxes": masks_to_boxes(masks), "labels": labels, "masks": masks})
    tensors = [to_tensor(image) for image in images]
    generator = torch.Generator().manual_seed(2)
    pasted, new_targets = copy_paste(tensors, targets, CopyPasteParams(random_num=False), generator)
    panels = [draw_instances(i, t["masks"]) for i, t in zip(tensors, targets, strict=True)]
    panels += [draw_instances(i, t["masks"]) for i, t in zip(pasted, new_targets, strict=True)]
    titles = ["image 1", "image 2", "1 with objects of 2", "2 with objects of 1"]
    save_image(FOLDER / "method_copy_paste.jpg", contact_sheet(panels, titles, columns=4, height=SIDE))


def self_training_figure(seed: int, model: CutLER, threshold: float) -> None:
    """Masks of the round before, confident detections, and the annotations of the next round."""
    image = scene(seed)
    before = [{"segmentation": rle.encode(mask.numpy())} for mask in found_masks(cut(image)[0])]
    for number, annotation in enumerate(before, start=1):
        code = annotation["segmentation"]
        annotation |= {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0}
        annotation |= {"area": rle.area(code), "bbox": rle.bbox(code)}
    record = {"id": 1, "file_name": "scene.png", "height": SIDE, "width": SIDE}
    coco = {"images": [record], "annotations": before, "categories": [{"id": 1, "name": "fg"}]}
    found = model.predict(image, score_threshold=threshold)
    merged = merge_annotations(coco, found.to_coco(image_id=1), threshold)["annotations"]
    new = [annotation["id"] > len(before) for annotation in merged]
    masks = np.stack([rle.decode(annotation["segmentation"]) for annotation in merged])
    panels = [
        draw_instances(image, np.stack([rle.decode(annotation["segmentation"]) for annotation in before])),
        draw_instances(image, found.masks, scores=found.scores),
        draw_instances(image, masks, colors=np.array([GREEN if one else RED for one in new], dtype=np.uint8)),
    ]
    titles = [
        "masks of the round before",
        f"detections, scores from {threshold}",
        "next round: new green, kept red",
    ]
    save_image(FOLDER / "method_self_training.jpg", contact_sheet(panels, titles, columns=3, height=SIDE))


def main() -> None:
    """Write all figures."""
    model = CutLER.from_pretrained("tiny_generated", device="cpu")
    maskcut_figure(seed=12)
    droploss_figure(12, model)
    copy_paste_figure((12, 7))
    self_training_figure(12, model, threshold=0.5)


if __name__ == "__main__":
    main()
