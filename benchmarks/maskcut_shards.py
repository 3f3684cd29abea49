"""MaskCut over 10,000 generated images: one run, and four parts that are killed at random moments, byte for byte.

    python benchmarks/maskcut_shards.py                  about 20 minutes on an idle machine
    python benchmarks/maskcut_shards.py --images 200 --kills 1

The parts run one after another, each in a process group of its own that is killed by SIGKILL and started again by the
same command; the moments are drawn from a seed, over the time that a part should take. The last part merges. Settings
are chosen for many images rather than good masks: `patch_descriptors` at 96 pixels, one mask per image, the guided
filter instead of the CRF, one thread, one loader process. CPU seconds are those of all processes, killed ones included.
"""

import argparse
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from maskcut_inputs import bundled_images
from PIL import Image

from cutler_pl.runtime.environment import run_metadata

ROOT = Path(__file__).resolve().parents[1]
PARTS = 4
RESULTS = ("annotations.json", "failures.jsonl")
SETTINGS = (
    "maskcut=patch_descriptors", "maskcut.fixed_size=96", "maskcut.num_masks=1", "crf.backend=guided", "trainer=cpu",
    "batch_size=16", "num_workers=1", "threads=1",
)  # fmt: skip
_STARTING = 10.0  # seconds, about


@dataclass
class Cost:
    """What a run took."""

    wall: float = 0.0
    cpu: float = 0.0
    kills: int = 0

    def row(self, name: str, images: int) -> str:
        """A line of the table."""
        rates = f"{images / self.wall:.1f} | {images / self.cpu:.1f}"
        return f"| {name} | {self.kills} | {self.wall:.0f} | {self.cpu:.0f} | {rates} |"


def generate(folder: Path, count: int, rng: np.random.Generator) -> None:
    """JPEGs of 250×188 pixels: the images bundled with scikit-image, shifted, mirrored and recolored at random."""
    folder.mkdir()
    bundled = [Image.fromarray(image.permute(1, 2, 0).numpy()).resize((250, 188)) for image in bundled_images(4)]
    for i in range(count):
        pixels = np.roll(np.asarray(bundled[i % 4]), rng.integers(0, 188, 2).tolist(), axis=(0, 1))
        pixels = pixels[:, :: int(rng.choice([-1, 1]))] * rng.uniform(0.6, 1, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:05d}.jpg", quality=90)


def run(images: Path, output: Path, *settings: str, killed_after: float | None = None) -> Cost:
    """One process of `cutler maskcut`, until its end or until it is killed."""
    program = [sys.executable, "-c", "from cutler_pl.cli import main; main()", "maskcut"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        [*program, f"input='{images}'", f"output='{output}'", *SETTINGS, *settings], env=environment, cwd=images.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    was_killed = False
    try:
        _, error = process.communicate(timeout=killed_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, error = process.communicate()
        was_killed = True
    if process.returncode and not was_killed:
        raise SystemExit(error)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return Cost(time.monotonic() - start, cpu, int(was_killed))


def main() -> None:
    """Run both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3, help="per part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the files are written; default: the temporary folder")
    options = parser.parse_args()
    print(f"commit {run_metadata()['commit']}, {os.cpu_count()} CPU cores, {platform.platform()}", flush=True)
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        generate(folder / "images", options.images, rng)
        whole = run(folder / "images", folder / "whole")
        print(f"one run: {whole.wall:.0f} s", flush=True)
        total = Cost()
        for part in range(PARTS):
            moments = [_STARTING + moment for moment in rng.uniform(0, whole.wall / PARTS, options.kills)]
            for moment in (*moments, None):
                settings = (f"job.index={part}", f"job.count={PARTS}")
                cost = run(folder / "images", folder / "parts", *settings, killed_after=moment)
                total = Cost(total.wall + cost.wall, total.cpu + cost.cpu, total.kills + cost.kills)
                if not cost.kills:
                    break
            print(f"part {part}: {total.kills} kills so far", flush=True)
        same = all((folder / "whole" / file).read_bytes() == (folder / "parts" / file).read_bytes() for file in RESULTS)
        size = (folder / "whole" / RESULTS[0]).stat().st_size
    print("\n| | kills | seconds | CPU seconds | images/s | images per CPU second |\n|---|---|---|---|---|---|")
    print(whole.row("one run", options.images))
    print(total.row(f"{PARTS} parts, one after another", options.images))
    print(f"\n{' and '.join(RESULTS)} ({size:,} bytes): {'byte-identical' if same else 'DIFFERENT'}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
