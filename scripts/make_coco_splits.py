"""K % of a COCO file for training on few labels: `python scripts/make_coco_splits.py annotations=<json> seed=0`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
