"""τ for one's images: `python scripts/calibrate.py images=<folder> output=<folder> maskcut=<features>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
