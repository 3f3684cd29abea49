"""Classes from clusters: `python scripts/discover.py annotations=<json> images=<folder> output=<folder> maskcut=…`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
