"""Will MaskCut work here? `python scripts/quality.py annotations=<json> images=<folder> output=<folder>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
