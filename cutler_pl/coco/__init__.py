"""COCO JSON: what passes between the stages on disk. Records, run-length masks, checked reading, atomic writing."""

from cutler_pl.coco.io import load_coco, load_predictions, save_coco

__all__ = ["load_coco", "load_predictions", "save_coco"]
