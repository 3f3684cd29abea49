"""What packaged, released and other well-known weights learned from, and whether people had labelled it."""

from pathlib import PurePosixPath
from typing import NamedTuple


class Learned(NamedTuple):
    """What weights learned from; `labels`: whether people had labelled it, None where that is not known."""

    source: str
    labels: bool | None


_IMAGENET = "CutLER on ImageNet without its labels, released by the authors of CutLER"
_KNOWN = {
    "scratch": Learned("nothing: random numbers", False),
    "dino_RN50_pretrain_d2_format": Learned("DINO on ImageNet without its labels", False),
    "moco_v2_800ep_pretrain": Learned("MoCo-v2 on ImageNet without its labels (CC BY-NC 4.0)", False),
    "cutler_mrcnn_final": Learned(_IMAGENET, False),
    "cutler_cascade_final": Learned(_IMAGENET, False),
    "cutler_cascade_r1": Learned(_IMAGENET, False),
    "cutler_cascade_r2": Learned(_IMAGENET, False),
    "cutler_fully_100perc": Learned(f"{_IMAGENET}, then all labels of COCO train2017", True),
    "tiny_generated": Learned("scenes composed by this project, with the masks known from composing", False),
    "patch_descriptors": Learned("nothing: a fixed description of colors and edges", False),
}
_SELF_SUPERVISED = {
    "dino_": "DINO on ImageNet without its labels",
    "dinov2_": "DINOv2 on web images without labels",
    "dinov3_": "DINOv3 on web images without labels (DINOv3 License)",
}


def learned_from(name: str) -> Learned | None:
    """What weights of a name or a file of that name learned from; None where nothing is known of it."""
    stem = PurePosixPath(name).name.partition(".")[0]
    if stem.startswith("cutler_semi_") and stem.endswith("perc"):
        percent = stem.removeprefix("cutler_semi_").removesuffix("perc")
        return Learned(f"{_IMAGENET}, then the labels of {percent} % of COCO train2017", True)
    return _KNOWN.get(stem)


def features_learned_from(name: str) -> Learned | None:
    """What the features of MaskCut of a name learned from; None where nothing is known of it."""
    known = next((text for start, text in _SELF_SUPERVISED.items() if name.startswith(start)), None)
    return _KNOWN.get(name) if known is None else Learned(known, False)
