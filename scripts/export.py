"""Write a detector as an ONNX file: `python scripts/export.py checkpoint=<weights> output=<file.onnx>`."""

from cutler_pl.cli import script

if __name__ == "__main__":
    script(__file__)
