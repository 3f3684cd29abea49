"""What MaskCut costs, part by part, beside what it replaces and in one run.

    python benchmarks/maskcut.py                      all parts on the CPU, about ten minutes on one core
    python benchmarks/maskcut.py --parts cut crf      some of them: cut, crf, image, scaling, precision, memory, gpu
    python benchmarks/maskcut.py --parts gpu          on a GPU with CuPy: each step beside its floor, and images to JSON

CPU seconds on one thread, median (range) of the repeats; on a GPU synchronised wall seconds. Features are generated:
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
import timm
import torch
from maskcut_inputs import bundled_images, discs, image_features, write_images

from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut, refine_masks
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.features import TransformerFeatures
from cutler_pl.maskcut.ncut import LanczosSolver
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.masks import paired_iou
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions
from cutler_pl.runtime.environment import run_metadata

EPS, TAU = 1e-5, 0.15


def seconds(work: Callable[[], object], repeats: int, *, cuda: bool = False) -> list[float]:
    """CPU time of each repeat; synchronised wall time on a GPU."""
    times = []
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
        clock = time.perf_counter if cuda else time.process_time
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
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


def image(repeats: int) -> None:
    """Everything after the ViT: three rounds at 60×60 patches, CRF, resizing, encoding."""
    predictor = MaskCutPredictor(lambda _: features, MaskCutParams())
    times: list[float] = []
    for seed, pixels in enumerate(bundled_images(3)):
        features = image_features(60, seed, dim=768)

        def work(pixels: torch.Tensor = pixels) -> None:
            (masks,) = predictor.predict(["image"], pixels[None])
            assert masks is not None
            encode_masks(masks, (375, 500))

        work()
        times += seconds(work, repeats)
    print(f"\nA whole image without the ViT, N = 3: {spread(times)} CPU-s")


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


class TimedVit:
    """A ViT-B/8 of random weights that is run, but returns generated features that can be cut."""

    patch_size, dim = 8, 768

    def __init__(self, batch: int) -> None:
        model = timm.create_model("vit_base_patch8_224.dino", pretrained=False, num_classes=0, dynamic_img_size=True)
        vit = TransformerFeatures(model, name="dino_vitb8", layer=-1, feature="key", pos_embed="original")
        self.vit = vit.requires_grad_(False).eval().cuda()
        self.features = torch.cat([image_features(60, seed, dim=768) for seed in range(8)]).cuda()
        self.features = self.features.repeat(-(-batch // 8), 1, 1, 1)[:batch]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The ViT's time, and features of ellipses."""
        with torch.autocast("cuda", dtype=torch.bfloat16):
            self.vit(images)
        return self.features[: len(images)]


def gpu(repeats: int, batch: int = 32, files: int = 1024) -> None:
    """Each step of a batch on the GPU beside its floor, then images on disk to JSON."""
    vit, pixels = TimedVit(batch), bundled_images(batch).cuda()
    solver = LanczosSolver()
    graph = build_graph(vit.features, tau=TAU, eps=EPS)
    masks = discs().expand(batch, -1, -1, -1).contiguous().cuda()
    steps: list[tuple[str, Callable[[], object], float, str]] = [
        ("ViT-B/8, bf16", lambda: vit(pixels.float() / 255), 1.0, "1.01 TFLOP at 989 TFLOP/s"),
        ("affinity, float32", lambda: build_graph(vit.features, tau=TAU, eps=EPS), 0.30, "20 GFLOP at 67 TFLOP/s"),
        ("one round's eigenvector", lambda: solver(graph), 0.01, "20 × 1.6 MB at 3.35 TB/s"),
        ("three rounds", lambda: maskcut(vit.features, MaskCutParams()), 0.33, "affinity + 3 eigenvectors"),
        ("CRF, 3 masks", lambda: refine_masks(pixels, masks), 0.15, "0.5 GB at 3.35 TB/s"),
    ]
    print(f"\nBatch of {batch}\n\n| step | ms per image | floor, ms | what the floor is |\n|---|---|---|---|")
    for name, work, floor, why in steps:
        work()
        times = [1000 * t / batch for t in seconds(work, repeats, cuda=True)]
        print(f"| {name} | {spread(times)} | {floor:.2f} | {why} |")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        names = write_images(source, files, size_wh=(500, 375))
        trainer = L.Trainer(accelerator="gpu", devices=1, logger=False, enable_checkpointing=False)
        start = time.perf_counter()
        generate(
            source,
            names,
            Path(folder) / "out",
            predictor=MaskCutPredictor(vit, MaskCutParams()),
            trainer=trainer,
            options=RunOptions(fixed_size=480, batch_size=batch, num_workers=12, threads=8, max_failure_rate=0.0),
        )
        spent = time.perf_counter() - start
        print(
            f"\n{files} JPEGs of 500×375 to JSON: {1000 * spent / files:.2f} ms per image, {files / spent:.0f} images/s"
        )


PARTS: dict[str, Callable[[int], None]] = {
    "cut": cut,
    "crf": crf,
    "image": image,
    "scaling": scaling,
    "precision": precision,
    "memory": memory,
    "gpu": gpu,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_cpu = [name for name in PARTS if name != "gpu"]
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=on_cpu)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    metadata = run_metadata()
    on_gpu = "gpu" in arguments.parts
    processor = torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine()
    print(f"commit {metadata['commit']}  torch {torch.__version__}  scipy {metadata['packages']['scipy']}  {processor}")
    for name in arguments.parts:
        PARTS[name](arguments.repeats)


if __name__ == "__main__":
    main()
