"""What a detector takes on a CPU with each backend, part by part, and how far its detections are from PyTorch's.

    python benchmarks/backends.py --images <folder> --checkpoint <file> [--backends winograd onnx openvino+bf16]

`torch+bf16` is PyTorch under autocast. CPU seconds, one image at a time, all backends in turn within one run; of each
image and backend the least of the rounds counts, the first round (shapes seen for the first time) apart. Two detections
are the same where their boxes overlap by more than 0.99 and their scores differ by less than 2e-3.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn
from torchvision.ops import box_iou

from cutler_pl.images import list_images, read_image
from cutler_pl.models import Detector, load_detector
from cutler_pl.models.backends import choose_backend
from cutler_pl.models.backends.parts import parts_of
from cutler_pl.models.predictions import best_first, encode_masks
from cutler_pl.types import Prediction

SAME_IOU, SAME_SCORE = 0.99, 2e-3
BF16 = "+bf16"


def main() -> None:
    """Print the times and the differences."""
    options = read_options()
    torch.set_num_threads(options.threads)
    root, names = list_images(options.images)
    images = [torch.from_numpy(read_image(root / name)).permute(2, 0, 1) for name in names[: options.num_images]]
    images = [image.contiguous() for image in images]
    print(f"torch {torch.__version__}, {options.threads} threads, {len(images)} images; matrix products at {peaks()}")
    runs = {name: Run(name, options.checkpoint) for name in ("torch", *options.backends)}
    first: dict[str, list[float]] = defaultdict(list)
    best = {name: [float("inf")] * len(images) for name in runs}
    for number in range(options.rounds + 1):
        for index, image in enumerate(images):
            for name, run in runs.items():
                seconds = run.seconds(image, count=number > 0)
                if number == 0:
                    first[name].append(seconds)
                else:
                    best[name][index] = min(best[name][index], seconds)
    usual = mean(best["torch"])
    for name, run in runs.items():
        parts = ", ".join(f"{part} {seconds:.3f}" for part, seconds in run.parts().items())
        print(f"{name}: {mean(best[name]):.3f} s per image, {mean(best[name]) / usual:.3f} of PyTorch's; {parts}; "
              f"first round {mean(first[name]):.3f}")  # fmt: skip
    for name in options.backends:
        print(f"{name}: {differences(runs['torch'], runs[name], images)}")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--backends", nargs="*", default=["winograd", "onnx", "openvino"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def peaks() -> str:
    """What this CPU reaches in a matrix product."""
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(2048, 2048).to(dtype)
        times = []
        for _ in range(4):
            start = time.process_time()
            a @ a
            times.append(time.process_time() - start)
        rates.append(f"{2 * 2048**3 / min(times) / 1e9:.0f} GFLOP per CPU-second in {dtype}")
    return ", ".join(rates)


class Run:
    """A detector with a backend, and the CPU seconds of its parts."""

    def __init__(self, name: str, checkpoint: str) -> None:
        backend, bf16 = name.removesuffix(BF16), name.endswith(BF16)
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if backend == "torch" and bf16:
            self.autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
        self.detector: Detector = load_detector(checkpoint)[0].eval()
        networks = {part.name: part.module for part in parts_of(self.detector)}
        choose_backend(backend, bfloat16=bf16 and backend != "torch").install(self.detector)
        self.spent: dict[str, list[float]] = defaultdict(list)
        self.inside: dict[str, float] = defaultdict(float)
        for network, path in networks.items():
            self._time(network.partition("_head")[0] + ("" if network == "backbone" else " head"), path)

    def _time(self, label: str, path: str) -> None:
        module: nn.Module = self.detector.get_submodule(path)
        forward = module.forward

        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            result = forward(*arguments)
            self.inside[label] += time.process_time() - start
            return result

        module.forward = timed  # type: ignore[method-assign]

    def seconds(self, image: torch.Tensor, *, count: bool) -> float:
        """CPU seconds of an image, masks encoded."""
        self.inside.clear()
        start = time.process_time()
        with self.autocast():
            (prediction,) = self.detector.predict([image])
        predicted = time.process_time()
        encode_masks(prediction, best_first(prediction))
        end = time.process_time()
        if count:
            between = predicted - start - sum(self.inside.values())
            for label, spent in {**self.inside, "between them": between, "masks encoded": end - predicted}.items():
                self.spent[label].append(spent)
        return end - start

    def parts(self) -> dict[str, float]:
        """Mean seconds per image of each part."""
        return {label: mean(spent) for label, spent in self.spent.items()}

    def prediction(self, image: torch.Tensor) -> Prediction:
        """Detections with full-size masks."""
        with self.autocast():
            return self.detector([image])[0]


def differences(usual: Run, other: Run, images: list[torch.Tensor]) -> str:
    """Each detection of PyTorch beside the nearest box of the other."""
    total, same, worst_iou, worst_score, mask_iou = 0, 0, 1.0, 0.0, 1.0
    for image in images:
        ours, theirs = usual.prediction(image), other.prediction(image)
        total += len(ours["boxes"])
        if not len(ours["boxes"]) or not len(theirs["boxes"]):
            continue
        iou, nearest = box_iou(ours["boxes"], theirs["boxes"]).max(dim=1)
        score = (ours["scores"] - theirs["scores"][nearest]).abs()
        agree = (iou > SAME_IOU) & (score < SAME_SCORE) & (ours["labels"] == theirs["labels"][nearest])
        same += int(agree.sum())
        worst_iou, worst_score = min(worst_iou, float(iou.min())), max(worst_score, float(score.max()))
        both = (ours["masks"] & theirs["masks"][nearest]).flatten(1).sum(1)
        either = (ours["masks"] | theirs["masks"][nearest]).flatten(1).sum(1)
        mask_iou = min(mask_iou, float((both / either.clamp(min=1))[agree].min()) if agree.any() else 1.0)
    return (
        f"{same} of {total} detections are the same; least IoU of boxes {worst_iou:.4f}, largest difference of a score "
        f"{worst_score:.1e}; least IoU of the same detections' masks {mask_iou:.3f}"
    )


if __name__ == "__main__":
    main()
