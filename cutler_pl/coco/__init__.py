"""COCO JSON: what passes between the stages on disk. Records, run-length masks, checked reading, atomic writing."""

from cutler_pl.coco.io import CocoFile, PredictionFile, load_coco, load_predictions, save_coco
from cutler_pl.coco.schema import RLE, Annotation, Category, Coco, Image, Result

__all__ = [
    "RLE",
    "Annotation",
    "Category",
    "Coco",
    "CocoFile",
    "Image",
    "PredictionFile",
    "Result",
    "load_coco",
    "load_predictions",
    "save_coco",
]
