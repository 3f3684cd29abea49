"""MaskCut's options on the scenes that the options of the other generators were tuned on.

    python benchmarks/ladder_search.py [tau=0.9 num_masks=5 corner_rule=invariant]

40 generated scenes (seed 5000) that no table uses, masks with scores, guided refinement. Without settings: a search of
about 60 settings, one line each.
"""

import argparse
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hydra import initialize_config_dir
from ladder_data import tuning_scenes
from ladder_masks import measure_masks, settings_of

from cutler_pl.commands.config_store import register_params
from cutler_pl.runtime.config_tree import config_dir

_NEVER, _ADAPTIVE = ("stop=never",), ("stop=adaptive", "max_ncut_value=0.5")
_BROADER = (*_ADAPTIVE, "max_overlap=0.8", "min_area=0.003", "max_border=0.8")


def search() -> Iterator[tuple[str, ...]]:
    """The settings of `maskcut.` that were tried."""
    for tau in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        for stop in (_NEVER, ("stop=adaptive", "max_ncut_value=0.2")):
            yield f"tau={tau}", "num_masks=3", *stop
    for tau, rounds in itertools.product((0.65, 0.8), (5, 8)):
        yield f"tau={tau}", f"num_masks={rounds}", *_NEVER
        for value in (0.1, 0.3):
            yield f"tau={tau}", f"num_masks={rounds}", "stop=adaptive", f"max_ncut_value={value}"
        yield f"tau={tau}", f"num_masks={rounds}", "stop=ncut_value", "max_ncut_value=0.2"
        yield f"tau={tau}", f"num_masks={rounds}", "stop=foreground"
    for tau, rounds in ((0.85, 5), (0.85, 8), (0.9, 5), (0.9, 8), (0.95, 5)):
        yield f"tau={tau}", f"num_masks={rounds}", *_NEVER
    for change in ("min_area=0.003", "min_area=0.02", "max_overlap=0.3", "corner_rule=invariant"):
        yield "tau=0.9", "num_masks=5", *_NEVER, change
    for tau, stop in itertools.product((0.9, 0.95), (_NEVER, _ADAPTIVE, _BROADER)):
        yield f"tau={tau}", "num_masks=5", *stop, "corner_rule=invariant"


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="of maskcut., instead of the search")
    parser.add_argument("--work", type=Path, default=Path("outputs/ladder"), help="where the scenes lie")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("PROJECT_ROOT", str(config_dir().parent))
    register_params()
    data = tuning_scenes(args.work.resolve())
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for settings in [tuple(args.settings)] if args.settings else search():
            cfg = settings_of((*(f"maskcut.{one}" for one in settings), "crf.backend=guided"))
            found = measure_masks(cfg, data)
            values = " ".join(f"{kind} AP50 {found[kind]['AP50']:5.1f}" for kind in ("bbox", "segm"))
            seconds = sum(found["seconds_per_image"].values())
            print(
                f"{' '.join(settings):<90} {values} {found['masks_per_image']:5.2f} masks {seconds:.3f} CPU-s",
                flush=True,
            )


if __name__ == "__main__":
    main()
