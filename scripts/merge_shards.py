"""Merge the shards of MaskCut runs into one COCO file: `python scripts/merge_shards.py output=<folder>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
