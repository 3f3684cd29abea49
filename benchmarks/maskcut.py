"""What MaskCut costs, part by part, beside what it replaces and in one run.

    python benchmarks/maskcut.py                      all parts on the CPU, about ten minutes on one core
    python benchmarks/maskcut.py --parts cut crf      some: cut, crf, image, backbones, scaling, precision, memory

CPU seconds on one thread, median (range) of the repeats; `maskcut_gpu.py` is for a GPU. Features are generated:
ellipses of one feature direction each, in noise. Images are those bundled with scikit-image, compilation not counted.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning as L
import numpy as np
import scipy.linalg
import torch
from maskcut_inputs import VITS, bundled_images, discs, image_features, random_vit, write_images

from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut, refine_masks
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.ncut import LanczosSolver
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.masks import paired_iou
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions
from cutler_pl.runtime.environment import run_metadata

EPS, TAU = 1e-5, 0.15


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU time of each repeat."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def spread(times: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):.4f} ({min(times):.4f}-{max(times):.4f})"


def eigh(graph: PatchGraph) -> Callable[[], object]:
    """The original's call, its matrices made beforehand."""
    W = graph.weights()[0].cpu().numpy()
    D = np.diag(W.sum(1))
    return lambda: scipy.linalg.eigh(D - W, D, subset_by_index=[1, 2])


def cut(repeats: int) -> None:
    """The second eigenvector, beside scipy's, on the same graphs; and whether three rounds give the same masks."""
    print("\n| grid | scipy.linalg.eigh, CPU-s | ours, CPU-s | ratio | same masks |\n|---|---|---|---|---|")
    solver = LanczosSolver()
    for side, images in ((30, 3), (60, 3)):
        slow: list[float] = []
        fast: list[float] = []
        same = 0
        for seed in range(images):
            features = image_features(side, seed)
            graph = build_graph(features, tau=TAU, eps=EPS)
            slow += seconds(eigh(graph), 1)
            fast += seconds(partial(solver, graph), repeats)
            masks = [maskcut(features, MaskCutParams(), solver=name).masks for name in ("scipy", "lanczos")]
            same += int(torch.equal(*masks))
        ratio = statistics.median(slow) / statistics.median(fast)
        print(f"| {side}×{side} | {spread(slow)} | {spread(fast)} | {ratio:.1f} | {same} of {images} |")


def crf(repeats: int) -> None:
    """The refinements of three masks of one image: the CRF, and the guided filter with its IoU against the CRF."""
    masks, images = discs(), bundled_images(3)
    print("\n| refinement of 3 masks at 480×480 | CPU-s per image | IoU with the CRF, mean (lowest) |\n|---|---|---|")
    reference = [refine_masks(image[None], masks) for image in images]
    for name in ("auto", "guided"):
        refined = [refine_masks(image[None], masks, backend=name) for image in images]
        work = [partial(refine_masks, image[None], masks, backend=name) for image in images]
        times = [t for one in work for t in seconds(one, repeats)]
        ious = torch.cat([paired_iou(*pair).flatten() for pair in zip(refined, reference, strict=True)])
        print(f"| {name} | {spread(times)} | {ious.nanmean():.3f} ({ious.nan_to_num(1).min():.3f}) |")


def after_vit(side: int, dim: int, repeats: int) -> list[float]:
    """CPU-s of three rounds on a square grid of patches, CRF, resizing, encoding."""
    predictor = MaskCutPredictor(lambda _: features, MaskCutParams())
    times: list[float] = []
    for seed, pixels in enumerate(bundled_images(3)):
        features = image_features(side, seed, dim=dim)

        def work(pixels: torch.Tensor = pixels) -> None:
            (masks,) = predictor.predict(["image"], pixels[None])
            assert masks is not None
            encode_masks(masks, (375, 500))

        work()
        times += seconds(work, repeats)
    return times


def image(repeats: int) -> None:
    """Everything after the ViT."""
    print(f"\nA whole image without the ViT, N = 3: {spread(after_vit(60, 768, repeats))} CPU-s")


def backbones(repeats: int) -> None:
    """A whole image with each ViT, of random weights, whose features are replaced by generated ones."""
    print("\n| backbone | ViT, CPU-s | all after it, CPU-s |\n|---|---|---|")
    pixels = bundled_images(1).float() / 255
    for name, (_, patch_size, dim, _) in VITS.items():
        vit = partial(random_vit(name), pixels)
        vit()
        rest = after_vit(480 // patch_size, dim, repeats)
        print(f"| {name} | {spread(seconds(vit, repeats))} | {spread(rest)} |", flush=True)


def scaling(repeats: int) -> None:
    """Cost by patches and by images."""
    print("\n| grid | patches n | cut, N = 3, CPU-s | CPU-s / n² · 10⁸ |\n|---|---|---|---|")
    for side in (30, 60, 90):
        features = [image_features(side, seed) for seed in range(3)]
        times = [t for f in features for t in seconds(partial(maskcut, f, MaskCutParams()), repeats)]
        n = side * side
        print(f"| {side}×{side} | {n} | {spread(times)} | {statistics.median(times) / n**2 * 1e8:.2f} |")
    print("\n| images | cut, N = 3, 60×60, CPU-s | CPU-s per image |\n|---|---|---|")
    many = torch.cat([image_features(60, seed) for seed in range(8)])
    for count in (1, 2, 4, 8):
        times = seconds(partial(maskcut, many[:count], MaskCutParams()), repeats)
        print(f"| {count} | {spread(times)} | {statistics.median(times) / count:.4f} |")


def precision(repeats: int) -> None:
    """What rounding the features to half precision does to the masks; the cut itself stays in full precision."""
    del repeats
    agreement: dict[str, list[float]] = {"bfloat16": [], "float16": []}
    for seed in range(8):
        features = image_features(60, seed)
        expected = maskcut(features, MaskCutParams()).masks[0]
        for name, found in agreement.items():
            masks = maskcut(features.to(getattr(torch, name)), MaskCutParams()).masks[0]
            union = (masks | expected).flatten(1).sum(1)
            found += ((masks & expected).flatten(1).sum(1) / union)[union > 0].tolist()
    for name, found in agreement.items():
        same = sum(iou == 1 for iou in found)
        print(f"\nFeatures in {name}: {same} of {len(found)} masks the same, lowest IoU {min(found):.4f}")


def memory(repeats: int, count: int = 2000) -> None:
    """Resident memory of a run over many small images, patch descriptors at 128 pixels."""
    del repeats
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        names = write_images(source, count, size_wh=(160, 120))
        resident: dict[int, float] = {}

        class Note(Observer):
            def on_image(self, *_: object) -> None:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                resident[len(resident) + 1] = pages * os.sysconf("SC_PAGE_SIZE")

        trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        start = time.perf_counter()
        generate(
            source,
            names,
            Path(folder) / "out",
            predictor=MaskCutPredictor(build_feature_extractor("patch_descriptors"), MaskCutParams(tau=0.5)),
            trainer=trainer,
            options=RunOptions(fixed_size=128, batch_size=16, num_workers=0, threads=2, max_failure_rate=0.0),
            observer=Note(),
        )
        megabytes = {at: resident[at] / 1e6 for at in (count // 10, count // 2, count)}
        print(f"\nResident memory in a run over {count} images ({time.perf_counter() - start:.0f} s):")
        print(", ".join(f"after {at}: {mb:.0f} MB" for at, mb in megabytes.items()))
        print(f"growth from {count // 10} to {count}: {megabytes[count] - megabytes[count // 10]:.1f} MB (limit 50)")


PARTS: dict[str, Callable[[int], None]] = {
    "cut": cut,
    "crf": crf,
    "image": image,
    "backbones": backbones,
    "scaling": scaling,
    "precision": precision,
    "memory": memory,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    metadata = run_metadata()
    processor = platform.processor() or platform.machine()
    print(f"commit {metadata['commit']}  torch {torch.__version__}  scipy {metadata['packages']['scipy']}  {processor}")
    for name in arguments.parts:
        PARTS[name](arguments.repeats)


if __name__ == "__main__":
    main()
