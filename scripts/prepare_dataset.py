"""Convert a dataset into the catalogue's COCO file, or fetch it: `python scripts/prepare_dataset.py name=<dataset>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
