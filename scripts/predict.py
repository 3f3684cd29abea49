"""Run a detector over images: `python scripts/predict.py checkpoint=<ckpt> input=<file|folder> output=<folder>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
