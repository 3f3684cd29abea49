"""From a folder of your own images to a detector: `python scripts/own.py images=<folder> output=<folder>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
