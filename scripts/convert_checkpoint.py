"""Convert the weights of a detector: `python scripts/convert_checkpoint.py source=<weights> output=<file>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
