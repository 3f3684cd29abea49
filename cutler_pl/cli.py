"""`cutler <command> [settings]`, and the same commands as scripts of a checkout.

Nothing heavy is imported before a command is chosen. A user error ends with one line on standard error and exit code
1. A bug keeps its traceback; `HYDRA_FULL_ERROR=1` shows the traceback of either.
"""

import difflib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

from cutler_pl.runtime.version import VERSION


class Command(NamedTuple):
    """A line of the help."""

    group: str
    summary: str


_MASKS, _DETECTORS, _DATA, _WEIGHTS, _ABOUT = "Pseudo-masks", "Detectors", "Datasets", "Weights", "This program"
COMMANDS = {
    "quickstart": Command(_MASKS, "the whole method on a few images: masks, detector, page; no download"),
    "maskcut": Command(_MASKS, "pseudo-masks of a folder of images, as COCO JSON"),
    "merge_shards": Command(_MASKS, "one COCO file from the parts of a MaskCut run"),
    "train": Command(_DETECTORS, "train a detector on images and a COCO file"),
    "self_train": Command(_DETECTORS, "the next round's annotations from a detector's predictions"),
    "predict": Command(_DETECTORS, "boxes and masks of images, as COCO results and overlays"),
    "evaluate": Command(_DETECTORS, "AP and AR against ground truth, with tables and a page"),
    "export": Command(_DETECTORS, "a detector as one ONNX file"),
    "recipe": Command(_DETECTORS, "several commands in a row, resumable"),
    "prepare_dataset": Command(_DATA, "convert or fetch the annotations of a dataset"),
    "make_coco_splits": Command(_DATA, "K percent of a COCO file, for training with few labels"),
    "weights": Command(_WEIGHTS, "the released weights: list, or fetch with download=<name>"),
    "convert_checkpoint": Command(_WEIGHTS, "weights from one tool's format into another's"),
    "doctor": Command(_ABOUT, "what this machine and installation can do"),
    "completion": Command(_ABOUT, "completion for the shell: cutler completion bash|zsh|fish"),
}
_PLAIN = ("doctor", "completion")  # without settings of Hydra


def main() -> None:
    """The console command `cutler`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(_help())
    elif name in ("--version", "-V"):
        print(f"cutler_pl {VERSION}")
    elif name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        _fail(f"cutler has no command {name!r}{hint}; cutler --help lists all")
    else:
        run(name, arguments)


def script(file: str) -> None:
    """The command that a script of the checkout is named after; its outputs go into the checkout."""
    root = Path(__file__).resolve().parents[1]
    os.environ.setdefault("PROJECT_ROOT", str(root))
    run(Path(file).stem, sys.argv[1:])


def run(name: str, arguments: list[str]) -> None:
    """Run a command; user errors end the process with one sentence."""
    from cutler_pl.commands.sentences import one_sentence  # here, since it brings Hydra, and a command brings torch

    with one_sentence(name):
        if name in _PLAIN:
            import_module(f"cutler_pl.commands.{name}").main(arguments)
        else:
            from cutler_pl.commands.hydra_app import launch

            launch(name, arguments)


def _help() -> str:
    lines = ["cutler <command> [setting=value …]", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(group)
        lines += [f"  {name:<19}{command.summary}" for name, command in COMMANDS.items() if command.group == group]
    lines += ["", "cutler <command> --cfg job prints the settings of a command; cutler --version the version."]
    return "\n".join(lines)


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(1)
