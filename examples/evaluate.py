"""AP and AR of a detector on images with ground truth.

python examples/evaluate.py <checkpoint> <images> <annotations.json>
"""

import json
import sys
from pathlib import Path

from cutler_pl import CutLER
from cutler_pl.evaluation import evaluate_coco

if len(sys.argv) != 4:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
checkpoint, images, annotations = sys.argv[1:]

model = CutLER.from_pretrained(checkpoint)
predictions = []
for image in json.loads(Path(annotations).read_text())["images"]:
    predictions += model.predict(Path(images) / image["file_name"]).to_coco(image["id"])

for iou_type, values in evaluate_coco(annotations, predictions, class_agnostic=True).items():
    print(f"{iou_type}: " + "  ".join(f"{name} {values[name]:.1f}" for name in ("AP", "AP50", "AR100")))
