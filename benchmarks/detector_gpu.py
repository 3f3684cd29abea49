"""What the cascade costs on a GPU: training steps of the recipe, their parts, options, and inference.

    python benchmarks/detector_gpu.py                             all parts, about three minutes
    python benchmarks/detector_gpu.py --parts train inference     some of them: train, options, profile, inference

Images lie on the device already. A training step is the recipe's: 16 images of 4:3 with a shorter side drawn from 240
to 1024 pixels, five objects each, copy-paste, DropLoss, clipping per tensor, SGD. Weights are those of the golden rule,
so that proposals are of all sizes. Each figure is the median of the steps, after warm-up.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutler_pl.data import BatchAugmentation, CopyPasteParams
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.droploss import DropLoss
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.training.clipping import clip_tensor_norms_, tensor_norms
from cutler_pl.training.optim import sgd
from cutler_pl.types import Target
from cutler_pl.weights.detectron2_keys import to_detectron2

SIZES = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
BATCH = 16
Batch = tuple[list[Tensor], list[Target]]


def detector(**options: Any) -> Detector:
    """The cascade with the golden rule's weights, on the GPU."""
    path = Path(__file__).resolve().parents[1] / "tests" / "golden_detectors.py"
    spec = importlib.util.spec_from_file_location("golden_rule", path)
    rule: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    model = build_detector("cascade_mask_rcnn_r50_fpn", classification_weights=DropLoss(), **options)
    state = model.state_dict()
    names = zip(state, to_detectron2(state), strict=True)
    model.load_state_dict({k: torch.from_numpy(rule.rule_weight(n, list(state[k].shape))) for k, n in names})
    return model.cuda()


def image(size_hw: tuple[int, int], seed: int) -> Tensor:
    """A smooth random image."""
    coarse = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(seed)).cuda() * 255
    return torch.nn.functional.interpolate(coarse, size_hw, mode="bilinear")[0].to(torch.uint8)


def make_batch(seed: int) -> Batch:
    """Images and targets of a step."""
    rng = np.random.default_rng(seed)
    images, targets = [], []
    for i in range(BATCH):
        shorter = int(rng.choice(SIZES))
        height, width = shorter, min(1333, shorter * 4 // 3)
        y, x = torch.meshgrid(torch.arange(height).cuda(), torch.arange(width).cuda(), indexing="ij")
        masks = []
        for _ in range(5):
            cy, cx, ry, rx = rng.uniform([0.2, 0.2, 0.05, 0.05], [0.8, 0.8, 0.3, 0.3])
            masks.append(((y / height - cy) / ry) ** 2 + ((x / width - cx) / rx) ** 2 <= 1)
        stacked = torch.stack(masks)
        boxes = torch.stack([torch.stack([x[m].min(), y[m].min(), x[m].max() + 1, y[m].max() + 1]) for m in masks])
        images.append(image((height, width), seed * BATCH + i))
        labels = torch.ones(len(masks), dtype=torch.int64).cuda()
        targets.append(Target(boxes=boxes.float(), labels=labels, masks=stacked))
    return images, targets


class Clock:
    """Milliseconds between synchronised marks, by name."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self.parts: dict[str, list[float]] = {}
        self.last = 0.0

    def mark(self, name: str | None = None) -> None:
        """End of a part; without a name the start of the first."""
        if not self.on:
            return
        torch.cuda.synchronize()
        now = time.perf_counter()
        if name is not None:
            self.parts.setdefault(name, []).append(1000 * (now - self.last))
        self.last = now


class Step:
    """A training step of the recipe."""

    def __init__(self, dtype: torch.dtype = torch.float16, *, fused: bool = False, **options: Any) -> None:
        self.model = detector(**options).train()
        self.optimizer = sgd(self.model, lr=0.001, weight_decay=5e-5, per_param_clip_norm=1.0)
        for group in self.optimizer.param_groups:
            group["fused"] = fused or None
        self.dtype = dtype
        self.scaler = torch.amp.GradScaler(enabled=dtype == torch.float16)
        self.augment = BatchAugmentation(copy_paste=CopyPasteParams())
        self.done = 0

    def __call__(self, batch: Batch, clock: Clock) -> None:
        """Copy-paste to optimiser step."""
        self.done += 1
        clock.mark()
        images, targets = self.augment(*batch, seed=0, step=self.done, group_size=2)
        clock.mark("copy-paste")
        with torch.autocast("cuda", dtype=self.dtype, enabled=self.dtype != torch.float32):
            losses = self.model(images, targets, group_size=2)
        total = sum(losses.values())
        clock.mark("forward")
        self.scaler.scale(total).backward()
        clock.mark("backward")
        self.scaler.unscale_(self.optimizer)
        for group in self.optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            clip_tensor_norms_(gradients, tensor_norms(gradients), max_norm=1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        clock.mark("clipping and step")


def images_per_second(step: Step, batches: list[Batch], warm: int = 2) -> float:
    """Over all batches, without synchronisation between the parts, after a first pass over some of them."""
    clock = Clock(on=False)
    for batch in batches[:warm]:
        step(batch, clock)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for batch in batches:
        step(batch, clock)
    torch.cuda.synchronize()
    return BATCH * len(batches) / (time.perf_counter() - start)


def train(batches: list[Batch]) -> None:
    """The recipe's rate and the parts of a step."""
    step = Step()
    torch.cuda.reset_peak_memory_stats()
    rate = images_per_second(step, batches, warm=len(batches))
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"\nTraining, float16, batch {BATCH}: {rate:.1f} images/s, peak {peak:.1f} GiB")
    clock = Clock(on=True)
    for batch in batches:
        step(batch, clock)
    for name, times in clock.parts.items():
        print(f"  {name}: {statistics.median(times):.1f} ms ({min(times):.1f}-{max(times):.1f})", flush=True)


def options(batches: list[Batch]) -> None:
    """The gain of each option, in images/s."""
    choices: dict[str, Callable[[], Step]] = {
        "float16": Step,
        "bfloat16": lambda: Step(torch.bfloat16),
        "float32 (TF32 convolutions)": lambda: Step(torch.float32),
        "float16, channels first": lambda: Step(channels_last=False),
        "float16, fused SGD": lambda: Step(fused=True),
    }
    print("\n| training | images/s |\n|---|---|")
    for name, make in choices.items():
        rate = images_per_second(make(), batches, warm=len(batches))
        print(f"| {name} | {rate:.1f} |", flush=True)


def profile(batches: list[Batch]) -> None:
    """The kernels and operators that take the most time in a step, and its launches."""
    step = Step()
    for batch in batches:
        step(batch, Clock(on=False))
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as events:
        step(batches[0], Clock(on=False))
        torch.cuda.synchronize()
    averages = events.key_averages()
    kernels = [e for e in averages if e.self_device_time_total > 0 and e.self_cpu_time_total == 0]
    busy = sum(e.self_device_time_total for e in kernels) / 1000
    print(f"\nA training step: {sum(e.count for e in kernels)} launches, GPU busy {busy:.1f} ms")
    print(averages.table(sort_by="self_device_time_total", row_limit=40, max_name_column_width=60))
    print(averages.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60))


def inference(batches: list[Batch], repeats: int = 10) -> None:
    """Images of 480×640, resized to 800×1067 on the device, to boxes and small masks on the device."""
    del batches
    print("\n| inference | batch | images/s | ms per image | peak, GiB |\n|---|---|---|---|---|")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        model = detector().eval()
        for batch in (1, 8):
            images = [image((480, 640), seed) for seed in range(batch)]
            times = []
            torch.cuda.reset_peak_memory_stats()
            for _ in range(repeats + 3):
                torch.cuda.synchronize()
                start = time.perf_counter()
                with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
                    model.predict(images)
                torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
            median = statistics.median(times[3:])
            peak = torch.cuda.max_memory_allocated() / 2**30
            print(
                f"| {dtype} | {batch} | {batch / median:.1f} | {1000 * median / batch:.1f} | {peak:.1f} |", flush=True
            )


PARTS: dict[str, Callable[[list[Batch]], None]] = {
    "train": train,
    "options": options,
    "profile": profile,
    "inference": inference,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    print(f"commit {run_metadata()['commit']}  torch {torch.__version__}  {torch.cuda.get_device_name()}")
    torch.backends.cudnn.benchmark = False
    batches = [make_batch(seed) for seed in range(args.steps)]
    for name in args.parts:
        PARTS[name](batches)


if __name__ == "__main__":
    main()
