"""Calibrate the verdict of `cutler quality` on generated images of easy and hopeless kinds.

    python benchmarks/quality.py [--sets 3] [--images 8] [--seed 0] [--features patch_descriptors]
    python benchmarks/quality.py --own <folder> --truth <COCO json>

One line per set: the share of its masks with IoU >= 0.5 with an object of the ground truth, which judges and which
the command never sees; the figures of the command; its verdict. Then, for each figure, the worst value of a set of an
easy kind, the best one of a hopeless kind, and the share of pairs of an easy and a hopeless set in which the easy one
has the better value, sets without a value left out; and how well the sureness of masks tells right from wrong ones.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality_scenes import EASY, HOPELESS, write_kind

from cutler_pl.api import MaskCut
from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco import rle
from cutler_pl.pseudo_masks.quality.agreement import build_second_run
from cutler_pl.pseudo_masks.quality.options import QualityOptions, QualityThresholds
from cutler_pl.pseudo_masks.quality.report import QualityReport, SecondSetting, assess
from cutler_pl.pseudo_masks.quality.shapes import measure, sureness
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, other_tau


def parse_args() -> argparse.Namespace:
    """How much is generated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=3, help="sets of each kind")
    parser.add_argument("--images", type=int, default=8, help="images of each set")
    parser.add_argument("--seed", type=int, default=0, help="of the first set of each kind")
    parser.add_argument("--features", default="patch_descriptors")
    parser.add_argument("--own", type=Path, help="images of one's own instead, with")
    parser.add_argument("--truth", type=Path, help="their ground truth of one category, of id 1")
    return parser.parse_args()


def main() -> None:
    """Print both tables."""
    args = parse_args()
    torch.set_num_threads(1)
    maskcut = MaskCut(args.features)
    if args.own:
        print_own(maskcut, args.own, args.truth)
        return
    rows: list[tuple[bool, dict[str, float | None]]] = []
    masks: list[tuple[float, float, bool]] = []
    names: list[str] = []
    for kind in (*EASY, *HOPELESS):
        for number in range(args.sets):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                write_kind(folder, kind, args.images, seed=args.seed + number)
                right, scored = find_masks(maskcut, folder)
                report = judged(folder, args.features)
            masks += scored
            signs = {sign.figure: sign.value for sign in report.verdict.signs}
            if not names:
                names = list(signs)
                print(f"{'kind':14}{'right':>7}", *(f"{short(name):>11}" for name in names), "  verdict")
            rows.append((kind in EASY, signs))
            values = (f"{'-' if value is None else format(value, '.2f'):>11}" for value in signs.values())
            took = f"({time.perf_counter() - start:.0f} s)"
            print(f"{kind:14}{right:7.2f}", *values, f"  {report.verdict.verdict} {took}", flush=True)
    print(f"\n{'figure':42}{'worst easy':>12}{'best hopeless':>15}{'separation':>12}")
    for sign in report.verdict.signs:
        worse = 1 if sign.higher_is_worse else -1
        easy, hopeless = (
            np.array([v[sign.figure] for is_easy, v in rows if is_easy == wanted and v[sign.figure] is not None])
            for wanted in (True, False)
        )
        ends = (worse * (worse * easy).max(), worse * (worse * hopeless).min())
        print(f"{sign.figure:42}{ends[0]:12.2f}{ends[1]:15.2f}{auc(-worse * easy, -worse * hopeless):12.2f}")
    table = np.array(masks, dtype=np.float64)
    is_right = table[:, 2] == 1
    score, sure = (auc(column[is_right], column[~is_right]) for column in table.T[:2])
    print(f"\nright masks before wrong ones, of {len(table)}: by score {score:.2f}, by sureness {sure:.2f}")


def print_own(maskcut: MaskCut, images: Path, truth: Path) -> None:
    """Print the figures of images of one's own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "images").symlink_to(images.resolve())
        (folder / "truth.json").write_bytes(truth.read_bytes())
        right, scored = find_masks(maskcut, folder)
        report = judged(folder, maskcut.name)
    table = np.array(scored, dtype=np.float64)
    is_right = table[:, 2] == 1
    for sign in report.verdict.signs:
        print(f"{sign.figure:42}{sign.value:8.2f} {sign.level}")
    print(f"{report.verdict.verdict}; right are {right:.2f} of {len(table)} masks; ", end="")
    score, sure = (auc(column[is_right], column[~is_right]) for column in table.T[:2])
    print(f"right masks before wrong ones: by score {score:.2f}, by sureness {sure:.2f}")


def find_masks(maskcut: MaskCut, folder: Path) -> tuple[float, list[tuple[float, float, bool]]]:
    """Write `annotations.json` by MaskCut; the share of right masks, and score, sureness and rightness of each."""
    truth = json.loads((folder / "truth.json").read_text())
    annotations: list[dict[str, Any]] = []
    scored: list[tuple[float, float, bool]] = []
    for image in truth["images"]:
        found = maskcut.predict(folder / "images" / image["file_name"]).to_coco(image_id=image["id"])
        size = image["height"], image["width"]
        records = [one for one in truth["annotations"] if one["image_id"] == image["id"] and not one["iscrowd"]]
        objects = [rle.to_rle(one["segmentation"], *size) for one in records]
        codes = [one["segmentation"] for one in found]
        best = rle.iou(codes, objects).max(1, initial=0)
        if found:
            sure = sureness(found, measure(codes)).tolist()
            scored += [(one["score"], s, iou >= 0.5) for one, s, iou in zip(found, sure, best.tolist(), strict=True)]
        for one in found:
            area = {"area": rle.area(one["segmentation"]), "iscrowd": 0}
            annotations.append({**one, **area, "id": len(annotations) + 1})
    (folder / "annotations.json").write_text(json.dumps({**truth, "annotations": annotations}))
    return float(np.mean([right for *_, right in scored])) if scored else 0.0, scored


def judged(folder: Path, features: str) -> QualityReport:
    """The report of the command, with another τ in the second run."""
    option, device = read_maskcut_option(features), torch.device("cpu")
    return assess(
        folder / "annotations.json",
        folder / "images",
        folder,
        options=QualityOptions(),
        thresholds=QualityThresholds(),
        second=SecondSetting(build_second_run({**option, "tau": other_tau(option["tau"])}, device), "another τ"),
        settings=RunSettings(features=features),
    )


def auc(better: np.ndarray, worse: np.ndarray) -> float:
    """Share of pairs in which the first value is greater; equal values count half."""
    pairs = better[:, None] - worse[None]
    return float(np.mean(pairs > 0) + np.mean(pairs == 0) / 2)


def short(name: str) -> str:
    """A column's title."""
    words = {"without": "without", "border": "border", "runs": "fragments", "fills": "fill", "score": "score"}
    return next((title for word, title in words.items() if word in name), "agreement")


if __name__ == "__main__":
    main()
