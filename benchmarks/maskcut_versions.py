"""MaskCut with its refinement here and in an older checkout, in turn: CPU seconds per image, and the area of all masks.

    python benchmarks/maskcut_versions.py --old <checkout>

20 generated scenes on `patch_descriptors`; each run is a process of its own, of one thread.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

_RUN = """
import time, torch
from cutler_pl.datasets.scenes import SceneParams, generate_scene
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.descriptors import PatchDescriptors
from cutler_pl.maskcut.predictor import MaskCutPredictor
torch.set_num_threads(1)
predictor = MaskCutPredictor(PatchDescriptors(), MaskCutParams(tau=0.8))
scenes = [generate_scene(SceneParams(), seed=9_100_000 + i).image for i in range(20)]
images = [torch.from_numpy(scene).permute(2, 0, 1)[None].contiguous() for scene in scenes]
predictor.predict(["warm-up"], images[0])
start = time.process_time()
found = [predictor.predict([str(i)], image)[0] for i, image in enumerate(images)]
print((time.process_time() - start) / len(images), sum(int(one.refined.sum()) for one in found))
"""


def main() -> None:
    """Print the medians and ranges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    roots = {"old": args.old.resolve(), "new": Path(__file__).resolve().parents[1]}
    runs: dict[str, list[list[float]]] = {name: [] for name in roots}
    for _ in range(args.rounds):
        for name, root in roots.items():
            environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
            words = [sys.executable, "-c", _RUN]
            done = subprocess.run(words, env=environment, cwd=root, capture_output=True, text=True, check=True)
            runs[name].append([*map(float, done.stdout.split())])
    for name, found in runs.items():
        seconds = [run[0] for run in found]
        areas = {int(run[1]) for run in found}
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        print(f"{name}: {statistics.median(seconds):.3f} CPU-s per image ({spread}), {areas} pixels in masks")


if __name__ == "__main__":
    main()
