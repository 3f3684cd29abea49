"""Objects of one image: a table, a figure, and COCO results.

python examples/detect.py <checkpoint> <image> <output folder>
"""

import sys
from pathlib import Path

from cutler_pl import CutLER

if len(sys.argv) != 4:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
checkpoint, image, output = sys.argv[1:]
folder = Path(output)

model = CutLER.from_pretrained(checkpoint)  # a file or a released name such as cutler_cascade_final
result = model.predict(image)
for found in result[:5]:
    left, top, right, bottom = found.boxes[0].tolist()
    print(f"{found.scores.item():.2f}  {left:.0f} {top:.0f} {right:.0f} {bottom:.0f}  {int(found.masks.sum())} pixels")

result.save(folder / "result.jpg", score_threshold=0.35)
result.save(folder / "result.json")
