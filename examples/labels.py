"""Masks or detections into the format of a tool to label with.

python examples/labels.py <annotations.json> <images> <output folder> [coco|yolo|cvat|labelstudio|labelme|fiftyone]
"""

import sys

from cutler_pl.datasets.formats import ExportOptions, export_labels

if len(sys.argv) < 4:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
annotations, images, output, *formats = sys.argv[1:]

for name in formats or ["yolo"]:
    print(export_labels(annotations, images, f"{output}/{name}", format=name, options=ExportOptions()))
