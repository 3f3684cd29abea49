"""Labels for other tools: `python scripts/export_labels.py annotations=<json> images=<folder> format=… output=…`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
