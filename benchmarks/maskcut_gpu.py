"""What MaskCut costs on a GPU, step by step beside its floor, and from JPEG files to JSON.

    python benchmarks/maskcut_gpu.py                        all parts, about two minutes
    python benchmarks/maskcut_gpu.py --parts steps files    some of them: steps, vits, profile, files

Milliseconds per image: synchronised wall time of a batch over its images, median (range) of the repeats. The ViT has
random weights; what is cut are generated features with ellipses. Images are those bundled with scikit-image. Floors are
for an H100: 989 TFLOP/s in half precision, 67 TFLOP/s in float32, 3.35 TB/s.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lightning as L
import torch
from maskcut_inputs import VITS, bundled_images, discs, image_features, random_vit, write_images
from torch.nn.attention import SDPBackend, sdpa_kernel

from cutler_pl.maskcut import MaskCutParams, maskcut, refine_masks
from cutler_pl.maskcut.affinity import build_graph
from cutler_pl.maskcut.ncut import LanczosSolver
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions
from cutler_pl.runtime.environment import run_metadata

EPS, TAU = 1e-5, 0.15


def milliseconds(work: Callable[[], object], images: int, repeats: int) -> list[float]:
    """Per image, after one call that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start) / images)
    return times


def spread(times: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"


def features_of(batch: int, *, side: int, dim: int) -> torch.Tensor:
    """Generated features on the GPU; eight different images, repeated."""
    eight = torch.cat([image_features(side, seed, dim=dim) for seed in range(8)]).cuda()
    return eight.repeat(-(-batch // 8), 1, 1, 1)[:batch]


class TimedVit:
    """A ViT of random weights that is run, but returns generated features that can be cut."""

    def __init__(self, name: str, batch: int, dtype: torch.dtype = torch.bfloat16) -> None:
        _, self.patch_size, self.dim, _ = VITS[name]
        self.vit = random_vit(name).cuda()
        self.dtype = dtype
        self.features = features_of(batch, side=480 // self.patch_size, dim=self.dim)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The ViT's time, and features of ellipses."""
        with torch.autocast("cuda", dtype=self.dtype, enabled=self.dtype != torch.float32):
            self.vit(images)
        return self.features[: len(images)]


def steps(repeats: int) -> None:
    """Each step of MaskCut with ViT-B/8 at 480 pixels, for several batches."""
    print("\n| batch | step | ms per image | floor, ms |\n|---|---|---|---|")
    for batch in (8, 16, 32, 64):
        vit, pixels = TimedVit("vitb8", batch), bundled_images(batch).cuda()
        masks = discs().expand(batch, -1, -1, -1).contiguous().cuda()
        graph = build_graph(vit.features, tau=TAU, eps=EPS)
        work: list[tuple[str, Callable[[], object], float]] = [
            ("ViT-B/8, bf16", partial(vit, pixels.float() / 255), 1.03),
            ("graph, float32", partial(build_graph, vit.features, tau=TAU, eps=EPS), 0.30),
            ("eigenvector of a round", partial(LanczosSolver(), graph), 0.01),
            ("three rounds, graph included", partial(maskcut, vit.features, MaskCutParams()), 0.33),
            ("CRF and holes, 3 masks", partial(refine_masks, pixels, masks), 0.15),
            ("whole predictor", partial(MaskCutPredictor(vit, MaskCutParams()).predict, ["i"] * batch, pixels), 1.51),
        ]
        for name, call, floor in work:
            torch.cuda.reset_peak_memory_stats()
            times = milliseconds(call, batch, repeats)
            peak = torch.cuda.max_memory_allocated() / 2**30
            print(f"| {batch} | {name} | {spread(times)} | {floor:.2f} | {peak:.1f} GiB", flush=True)


def vits(repeats: int, batch: int = 32) -> None:
    """The backbones in float32 and bfloat16, beside their floor; ViT-B/8 with each attention, and compiled."""
    pixels = bundled_images(batch).cuda().float() / 255
    print("\n| backbone | ms per image | floor, ms | rate, TFLOP/s |\n|---|---|---|---|")
    for name, (_, _, _, teramacs) in VITS.items():
        for dtype, rate in ((torch.bfloat16, 989), (torch.float32, 67)):
            times = milliseconds(partial(TimedVit(name, batch, dtype), pixels), batch, repeats)
            reached = 2 * teramacs / statistics.median(times) * 1000
            print(f"| {name}, {dtype} | {spread(times)} | {2000 * teramacs / rate:.2f} | {reached:.0f} |", flush=True)
    single = TimedVit("vitb8", batch, torch.float32)
    torch.set_float32_matmul_precision("high")
    print(f"| vitb8, TF32 | {spread(milliseconds(partial(single, pixels), batch, repeats))} | | |", flush=True)
    torch.set_float32_matmul_precision("highest")
    vit = TimedVit("vitb8", batch)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        with sdpa_kernel(backend):
            print(
                f"| vitb8, {backend} | {spread(milliseconds(partial(vit, pixels), batch, repeats))} | | |", flush=True
            )
    vit.vit.compile()
    print(f"| vitb8, compiled | {spread(milliseconds(partial(vit, pixels), batch, repeats))} | | |", flush=True)


def profile(repeats: int, batch: int = 32) -> None:
    """Launches of the cut and of the CRF, and the time the GPU works in them."""
    del repeats
    features, pixels = features_of(batch, side=60, dim=768), bundled_images(batch).cuda()
    masks = discs().expand(batch, -1, -1, -1).contiguous().cuda()
    for name, work in (
        ("cut", partial(maskcut, features, MaskCutParams())),
        ("CRF", partial(refine_masks, pixels, masks)),
    ):
        work()
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        wall = 1000 * (time.perf_counter() - start)
        activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as events:
            work()
            torch.cuda.synchronize()
        kernels = [e for e in events.key_averages() if e.self_device_time_total > 0 and e.self_cpu_time_total == 0]
        busy = sum(e.self_device_time_total for e in kernels) / 1000
        print(
            f"\n{name}, batch of {batch}: {wall:.1f} ms, {sum(e.count for e in kernels)} launches, busy {busy:.1f} ms"
        )
        for event in sorted(kernels, key=lambda e: -e.self_device_time_total)[:14]:
            print(f"  {event.self_device_time_total / 1000:8.2f} ms {event.count:5d} × {event.key[:80]}")


@contextmanager
def utilisation() -> Iterator[list[int]]:
    """Per cent of time with a kernel running, as the driver counts it, every half second."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            seen.append(torch.cuda.utilization())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


class Noted(Observer):
    """When each image was done."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_image(self, *_: object) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def files(repeats: int, count: int = 2048) -> None:
    """JPEG files to JSON, by the command's own run."""
    del repeats
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        names = write_images(source, count, size_wh=(500, 375))
        for backbone, batch in (("vitb8", 32), ("vits16", 32)):
            trainer = L.Trainer(
                accelerator="gpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
            )
            predictor = MaskCutPredictor(TimedVit(backbone, batch), MaskCutParams())
            options = RunOptions(fixed_size=480, batch_size=batch, num_workers=12, threads=8, max_failure_rate=0.0)
            torch.cuda.reset_peak_memory_stats()
            noted = Noted()
            with utilisation() as percent:
                start = time.perf_counter()
                output = Path(folder) / backbone
                generate(source, names, output, predictor=predictor, trainer=trainer, options=options, observer=noted)
                spent = time.perf_counter() - start
            first, last = noted.times[count // 4], noted.times[-1]
            sustained = (count - count // 4) / (last - first)
            busy = statistics.mean(percent[len(percent) // 3 :]) if percent else float("nan")
            peak = torch.cuda.max_memory_allocated() / 2**30
            print(
                f"\n{count} JPEGs of 500×375 to JSON, {backbone}, batches of {batch}, 12 loaders, 8 threads: "
                f"{sustained:.0f} images/s sustained ({1000 / sustained:.2f} ms per image), {spent:.1f} s in all with "
                f"start and merge, first image after {noted.times[0] - start:.1f} s, GPU {busy:.0f} % busy, "
                f"peak {peak:.1f} GiB",
                flush=True,
            )


PARTS: dict[str, Callable[[int], None]] = {"steps": steps, "vits": vits, "profile": profile, "files": files}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"commit {run_metadata()['commit']}  torch {torch.__version__}  {torch.cuda.get_device_name()}")
    for name in arguments.parts:
        PARTS[name](arguments.repeats)


if __name__ == "__main__":
    main()
