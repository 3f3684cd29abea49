"""The ladder: every generator of masks and every option of learning from them, on the same data.

    python benchmarks/ladder.py --data <folder of coco_mini and voc_mini>    all: hours on one core
    python benchmarks/ladder.py --estimate                                   the time of what is missing
    python benchmarks/ladder.py --only 'masks/*' 'detectors/*/promerge*'     a part
    python benchmarks/ladder.py --page docs/ladder.md                        the tables of the results that are there

A cell is a row (generator or option), what it is measured on, and a seed. Each writes a small JSON file; one that is
there and of the same settings is kept, so the same command resumes. Masks are measured on generated scenes of three
difficulties and on real images, detectors on the middle difficulty, after the quickstart's training. There rows get
more seeds, up to 8, until the standard error of a comparison is below half the gain.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hydra import initialize_config_dir
from ladder_cells import Cell, Measured, estimate, is_done, matching, over_seeds, read_all, run_cell
from ladder_detectors import detector_cells
from ladder_masks import mask_cells, real_cells
from ladder_page import filled, tables
from ladder_plot import plot_differences, plot_speed
from ladder_report import more_seeds
from ladder_rows import ARMS, COMPARISONS, GENERATORS, ON_MIDDLE, SPEED
from ladder_speed import speed_cells

from cutler_pl.commands.config_store import register_params
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.durations import format_duration
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.logging import configure_logging
from cutler_pl.visual.curves import save_figure

ROOT = config_dir().parent
RESULTS = ROOT / "benchmarks" / "results" / "ladder"
GUESSES = {"masks": 25.0, "detectors": 240.0, "speed": 120.0}
"""CPU seconds of a cell before any of its table was measured."""


def main() -> None:
    """Run what is missing, or print what is there."""
    args = parse_args()
    torch.set_num_threads(1)
    configure_logging()
    os.environ.setdefault("PROJECT_ROOT", str(ROOT))
    register_params()
    if args.page or args.figures:
        measured = read_all(args.results)
        if args.page:
            write_text(args.page, filled(args.page.read_text(encoding="utf-8"), tables(measured)))
        if args.figures:
            save_figure(args.figures / "ladder.svg", plot_speed(measured))
            save_figure(args.figures / "ladder_differences.svg", plot_differences(measured, COMPARISONS))
        return
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        if args.estimate:
            print(described(missing(args), read_all(args.results)))
            return
        while left := missing(args):
            print(described(left, read_all(args.results)), flush=True)
            for cell in left:
                run_cell(cell, args.results)
                print(f"{cell.name}: done", flush=True)
    for name, text in tables(read_all(args.results)).items():
        print(f"\n{name}\n\n{text}")


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="shell patterns of names of cells")
    parser.add_argument("--estimate", action="store_true", help="print the time of what is missing, and end")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fixed-seeds", action="store_true", help="no more seeds where a comparison is not decided")
    parser.add_argument("--data", type=Path, help="folder of real sets; without it they are left out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the cells' files")
    parser.add_argument("--work", type=Path, default=Path("outputs/ladder"), help="scenes, masks and checkpoints")
    parser.add_argument("--page", type=Path, help="write the tables into this page, and end")
    parser.add_argument("--figures", type=Path, help="write the plots into this folder, and end")
    return parser.parse_args(arguments)


def missing(args: argparse.Namespace) -> list[Cell]:
    """Cells that have no result of these settings, in the order of their value."""
    work = args.work.resolve()
    cells = [*over_seeds(lambda seed: mask_cells(seed, rows=GENERATORS, work=work), args.seeds)]
    cells += over_seeds(lambda seed: mask_cells(seed, rows=ON_MIDDLE, work=work, sets=["middle"]), args.seeds)
    if args.data is not None:
        cells += real_cells(args.data.resolve(), rows=GENERATORS, work=work)
    cells += over_seeds(lambda seed: speed_cells(seed, rows=SPEED, work=work), args.seeds)
    cells += over_seeds(lambda seed: detector_cells(seed, arms=ARMS, work=work), args.seeds)
    left = [cell for cell in matching(cells, args.only) if not is_done(cell, args.results)]
    if left or args.fixed_seeds:
        return left
    measured = read_all(args.results)
    more = more_seeds(measured, COMPARISONS, "masks")
    for seed in sorted(set(more.values())):
        rows = {row: (GENERATORS | ON_MIDDLE)[row] for row in more if more[row] >= seed}
        cells += mask_cells(seed, rows=rows, work=work, sets=["middle"])
    more = more_seeds(measured, COMPARISONS, "detectors")
    for seed in sorted(set(more.values())):
        cells += detector_cells(seed, arms={row: ARMS[row] for row in more if more[row] >= seed}, work=work)
    return [cell for cell in matching(cells, args.only) if not is_done(cell, args.results)]


def described(left: Sequence[Cell], measured: Sequence[Measured]) -> str:
    """What is missing, and about how long it takes."""
    return f"{len(left)} cells are missing: about {format_duration(estimate(left, measured, GUESSES))} of one core"


if __name__ == "__main__":
    main()
