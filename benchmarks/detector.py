"""The cascade beside torchvision's Mask R-CNN, which anyone can run: processor seconds and peak memory, one thread.

    python benchmarks/detector.py                         inference and a training iteration (some minutes)
    python benchmarks/detector.py --part inference
    python benchmarks/detector.py --part options          inference of ours with each option that is to make it faster
    python benchmarks/detector.py --channels-last         ours in the faster memory layout that training uses
    python benchmarks/detector.py --profile               also what dominates ours

Inference is one photo of 480×640 resized to 800×1067; a training iteration is forward and backward of two images of
480×640 with three objects each. Each side runs in its own process, so that peak memory is its own. Ours has the weights
of the golden rule, so that proposals are of all sizes; torchvision's are random, as `weights=None` leaves them.
"""

import argparse
import importlib.util
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torchvision.models.detection import maskrcnn_resnet50_fpn

from cutler_pl.models import build_detector
from cutler_pl.models.droploss import DropLoss
from cutler_pl.runtime.reproducibility import run_metadata
from cutler_pl.weights.detectron2_keys import to_detectron2

SIDES = {"ours": "Cascade Mask R-CNN R50-FPN, ours", "torchvision": "Mask R-CNN R50-FPN, torchvision"}
PARTS = {"inference": "photo 480×640", "training": "iteration of 2 images 480×640"}
OPTIONS: dict[str, dict[str, bool]] = {
    "neither": {},
    "channels_last": {"channels_last": True},
    "compile_backbone": {"compile_backbone": True},
    "both": {"channels_last": True, "compile_backbone": True},
}
SIZE_HW = (480, 640)


def photo(seed: int) -> torch.Tensor:
    """A smooth random image."""
    coarse = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(coarse, SIZE_HW, mode="bilinear")[0].to(torch.uint8)


def target() -> dict[str, torch.Tensor]:
    """Three objects with rectangles as masks."""
    boxes = torch.tensor([[50.0, 40, 250, 300], [300, 100, 500, 400], [100, 200, 400, 460]])
    masks = torch.zeros(3, *SIZE_HW, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return {"boxes": boxes, "labels": torch.ones(3, dtype=torch.int64), "masks": masks}


def ours(**options: bool) -> torch.nn.Module:
    """The cascade with the golden rule's weights."""
    path = Path(__file__).resolve().parents[1] / "tests" / "golden_detectors.py"
    spec = importlib.util.spec_from_file_location("golden_rule", path)
    rule: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    detector = build_detector("cascade_mask_rcnn_r50_fpn", classification_weights=DropLoss(), **options)
    state = detector.state_dict()
    names = zip(state, to_detectron2(state), strict=True)
    detector.load_state_dict({k: torch.from_numpy(rule.rule_weight(n, list(state[k].shape))) for k, n in names})
    return detector


def task(side: str, part: str, options: dict[str, bool]) -> Callable[[], object]:
    """What is timed; the options are those of ours."""
    images, targets = [photo(0), photo(1)], [target(), target()]
    if side == "ours":
        model = ours(**options)
    else:
        model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, box_score_thresh=0)
        images = [image.float() / 255 for image in images]
    if part == "inference":
        model.eval()
        return torch.inference_mode()(lambda: model(images[:1]))
    model.train()
    return lambda: sum(model(images, targets).values()).backward()


def measure(side: str, part: str, options: dict[str, bool], args: argparse.Namespace, answers: Any) -> None:
    """Time one side in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = task(side, part, options)
    run()  # what is compiled is compiled here
    seconds = []
    for _ in range(args.repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    table = ""
    if args.profile and side == "ours":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as events:
            run()
        table = events.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40)
    answers.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, table))


def main() -> None:
    """Run both sides of the parts asked for and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*PARTS, "options"], help="only this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()

    print(json.dumps(run_metadata(), ensure_ascii=False))
    if args.part == "options":
        compare_options(args)
        return
    for part in [args.part] if args.part else PARTS:
        medians = {}
        for side, name in SIDES.items():
            medians[side] = in_own_process(f"{part} ({PARTS[part]}), {name}", side, part, args)
        print(f"{part}: ours takes {medians['ours'] / medians['torchvision']:.2f} of torchvision's time")


def compare_options(args: argparse.Namespace) -> None:
    """Inference of ours with the options, beside that without."""
    medians = {}
    for name, options in OPTIONS.items():
        title = f"inference ({PARTS['inference']}), ours with {name}"
        medians[name] = in_own_process(title, "ours", "inference", args, options)
        print(f"{name}: {medians[name] / medians['neither']:.2f} of the time with neither")


def in_own_process(
    title: str, side: str, part: str, args: argparse.Namespace, options: dict[str, bool] | None = None
) -> float:
    """Time one side in a fresh process, print what it took; returns the median in seconds."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    options = {"channels_last": args.channels_last} if options is None else options
    process = context.Process(target=measure, args=(side, part, options, args, answers))
    process.start()
    seconds, gibibytes, table = answers.get()
    process.join()
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"{title}: {statistics.median(seconds):.2f} s ({spread}), peak {gibibytes:.2f} GiB")
    if table:
        print(table)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
