"""List or fetch the released weights: `python scripts/weights.py download=cutler_cascade_final`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
