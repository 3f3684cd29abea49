"""The cascade beside torchvision's Mask R-CNN, which anyone can run: processor seconds and peak memory, one thread.

    python benchmarks/detector.py                         inference and a training iteration (some minutes)
    python benchmarks/detector.py --part inference
    python benchmarks/detector.py --part options          inference of ours with each option that is to make it faster
    python benchmarks/detector.py --profile               also what dominates ours

Inference is one image of 480×640 resized to 800×1067; a training iteration is forward and backward of two images of
480×640 with three objects each. The sides run in turn, nine times, each in its own process, both in their default
settings. Ours has the weights of the golden rule, so that proposals are of all sizes; torchvision's are random, as
`weights=None` leaves them.
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
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.weights.detectron2_keys import to_detectron2

SIDES = {"ours": "Cascade Mask R-CNN R50-FPN, ours", "torchvision": "Mask R-CNN R50-FPN, torchvision"}
PARTS = {"inference": "image 480×640", "training": "iteration of 2 images 480×640"}
OPTIONS: dict[str, dict[str, bool]] = {
    "channels_first": {"channels_last": False},
    "compile_backbone": {"compile_backbone": True},
    "default": {},
}
SIZE_HW = (480, 640)


def image(seed: int) -> torch.Tensor:
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
    images, targets = [image(0), image(1)], [target(), target()]
    if side == "ours":
        model = ours(**options)
    else:
        model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2)
        images = [image.float() / 255 for image in images]
    if part == "inference":
        model.eval()
        return torch.inference_mode()(lambda: model(images[:1]))
    model.train()
    return lambda: sum(model(images, targets).values()).backward()


def serve(side: str, part: str, options: dict[str, bool], profile: bool, connection: Any) -> None:
    """Run one side each time it is asked to; answer with its processor seconds and peak memory so far."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = task(side, part, options)
    run()  # what is compiled is compiled here
    connection.send(None)
    while connection.recv():
        start = time.process_time()
        run()
        seconds = time.process_time() - start
        connection.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
    if profile and side == "ours":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as events:
            run()
        print(events.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


def interleave(title: str, sides: dict[str, tuple[str, str, dict[str, bool]]], args: argparse.Namespace) -> None:
    """Time all sides in turn, each in a process of its own; print medians and the ratio to the last side."""
    context = multiprocessing.get_context("spawn")
    connections, processes = {}, []
    for name, side in sides.items():
        connections[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(*side, args.profile, theirs)))
        processes[-1].start()
        connections[name].recv()
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, connection in connections.items():
            connection.send(True)
            runs[name].append(connection.recv())
    for connection, process in zip(connections.values(), processes, strict=True):
        connection.send(False)
        process.join()
    medians = {name: statistics.median(seconds for seconds, _ in run) for name, run in runs.items()}
    for name, run in runs.items():
        seconds = [s for s, _ in run]
        ratio = medians[name] / medians[list(sides)[-1]]
        print(
            f"{title}, {name}: {medians[name]:.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"ratio {ratio:.2f}, peak {run[-1][1]:.2f} GiB"
        )


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*PARTS, "options"], help="only this one")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()

    print(json.dumps(run_metadata(), ensure_ascii=False))
    if args.part == "options":
        sides = {name: ("ours", "inference", options) for name, options in OPTIONS.items()}
        interleave(f"inference ({PARTS['inference']})", sides, args)
        return
    for part in [args.part] if args.part else PARTS:
        interleave(f"{part} ({PARTS[part]})", {SIDES[side]: (side, part, {}) for side in SIDES}, args)


if __name__ == "__main__":
    main()
