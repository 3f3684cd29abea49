"""Measure detections: `python scripts/evaluate.py predictions=<json> annotations=<json>`; see conf/evaluate.yaml."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
