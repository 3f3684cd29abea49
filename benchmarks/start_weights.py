"""What the start weights `tiny_generated` are worth in `cutler own`: the same run from them and from scratch.

    python benchmarks/start_weights.py --images <folder> --annotations <class-agnostic COCO json> --output <folder>

Each cell is one seed and one start: `cutler own` on the images, without their labels, with the same network and the
same numbers of steps, then `cutler evaluate` of its last detector on the same images. Both run on CPU cores. Finished
cells are kept; the same command goes on. After each cell the table of all finished ones is printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
STARTS = ("scratch", "tiny_generated")
METRICS = {
    f"{name} {metric}": (kind, metric)
    for name, kind in (("box", "bbox"), ("mask", "segm"))
    for metric in ("AP50", "AR100")
}


def parse_args() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=60, help="of the first training; half as many in the round")
    parser.add_argument("--maskcut", default="patch_descriptors")
    return parser.parse_args()


def main() -> None:
    """Run the cells that are missing."""
    args = parse_args()
    cells: dict[tuple[int, str], dict[str, float]] = {}
    for seed in args.seeds:
        for start in STARTS:
            cells[seed, start] = run_cell(args, seed, start)
            print(table(cells), flush=True)


def run_cell(args: argparse.Namespace, seed: int, start: str) -> dict[str, float]:
    """Metrics of one cell, in percent, read from its folder if it is finished."""
    folder = args.output / f"{args.steps}_steps_seed_{seed}_{start}"
    own = folder / "own"
    run(
        "own", f"images={args.images}", f"output={own}", f"maskcut={args.maskcut}", f"init={start}", f"seed={seed}",
        "budget=100h", f"recipe.steps={args.steps}", f"recipe.steps_rounds={args.steps // 2}", "recipe.run_on=cpu",
        "recipe.trainer=cpu", "recipe.experiment=quickstart_half",
        "recipe.experiment_rounds=quickstart_half_self_train",
    )  # fmt: skip
    (checkpoint,) = own.glob("stages/*_train_1/checkpoints/last.ckpt")
    run(
        "evaluate", f"checkpoint={checkpoint}", f"images={args.images}", f"annotations={args.annotations}",
        "dataset=own", f"output={folder / 'evaluate'}", "num_examples=0", "trainer=cpu", "num_workers=0",
    )  # fmt: skip
    values = json.loads((folder / "evaluate" / "results.json").read_text())["own"]
    return {column: values[kind][metric] for column, (kind, metric) in METRICS.items()}


def run(command: str, *words: str) -> None:
    """Run a command of the project, its messages on this console."""
    subprocess.run([sys.executable, str(SCRIPTS / f"{command}.py"), *words], check=True)


def table(cells: dict[tuple[int, str], dict[str, float]]) -> str:
    """A Markdown table: a row per cell, and the mean of each start."""
    lines = [f"| start | seed | {' | '.join(METRICS)} |", "|---|---|" + "---|" * len(METRICS)]
    for start in STARTS:
        rows = {str(seed): values for (seed, other), values in cells.items() if other == start}
        if len(rows) > 1:
            rows["mean"] = {column: statistics.mean(row[column] for row in rows.values()) for column in METRICS}
        for seed, values in rows.items():
            lines.append(f"| {start} | {seed} | " + " | ".join(f"{values[column]:.1f}" for column in METRICS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
