"""A page in the browser: `python scripts/demo.py checkpoint=tiny_generated port=7860`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
