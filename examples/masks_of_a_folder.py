"""Masks of a folder's images without a label: a figure and a YOLO label file of each.

python examples/masks_of_a_folder.py <images> <output>
"""

import sys
from pathlib import Path

from cutler_pl import MaskCut

if len(sys.argv) != 3:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
images, output = map(Path, sys.argv[1:])
output.mkdir(parents=True, exist_ok=True)

maskcut = MaskCut("patch_descriptors")  # needs no weights; MaskCut("dino_vits16") finds more and downloads 84 MB
for result in maskcut.predict(images):
    result.save(output / f"{result.path.stem}.jpg", score_threshold=0.3)
    (output / f"{result.path.stem}.txt").write_text(result.to_yolo())
    print(f"{result.path.name}: {len(result)} objects, scores {[round(s, 2) for s in result.scores.tolist()]}")
