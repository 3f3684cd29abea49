"""Find pseudo-masks in images: `python scripts/maskcut.py input=<folder> output=<folder> maskcut=dino_vitb8`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
