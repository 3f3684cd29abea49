"""Fuzz what reads files of others. A case may end in a `CutlerError` of one line, in nothing else, and within seconds.

    python tests/fuzz.py --minutes 5 coco          random cases; prints the seed of each round
    python tests/fuzz.py --minutes 5 checkpoints   the same for checkpoints
    python tests/fuzz.py --examples 100 --seed 1 coco
    python tests/fuzz.py --minutes 5 overrides     one override of a random setting of a random command each
    python tests/fuzz.py coco --files a.json       what each reader of COCO files says of a file, as JSON

Native code may crash or hang, so each round runs in a process of its own: a crash is reported with the round's seed,
and its case lies in --folder. A case may not take more than 2 GB either. The test suite starts this with few examples.
"""

import argparse
import faulthandler
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import checkpoint_strategies as checkpoints
import coco_strategies as strategies
import override_strategies
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cutler_pl.coco import load_coco, load_predictions, save_coco
from cutler_pl.coco.index import open_index
from cutler_pl.data.transforms import TransformParams, apply_masks
from cutler_pl.datasets.converters.coco_json import read_coco
from cutler_pl.datasets.converters.records import Source
from cutler_pl.datasets.splits import read_images, write_splits
from cutler_pl.errors import CheckpointError, CutlerError
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.models import load_weights
from cutler_pl.models.checkpoint import load_backbone, load_detector
from cutler_pl.models.resume import check_resume
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.self_training import merge_annotations
from cutler_pl.weights.files import read_state

MAX_SECONDS = 30
MAX_BYTES = 2 << 30
TRUTH: dict[str, Any] = {
    "images": [
        {"id": i, "file_name": name, "height": strategies.HEIGHT, "width": strategies.WIDTH}
        for i, name in enumerate(("a.jpg", "b/c.jpg", "d.jpg"), 1)
    ],
    "annotations": [
        {
            "id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 8, 6], "area": 48, "iscrowd": 0,
            "segmentation": [[2, 3, 10, 3, 10, 9, 2, 9]],
        }
        for i in (1, 2, 3)
    ],
    "categories": [{"id": 1, "name": "fg"}],
}  # fmt: skip


def _index(path: Path) -> None:
    index = open_index(path, index_dir=path.parent / "index")
    index.check_names(path.parent, path)
    for i in range(len(index)):
        size_hw = index.size_hw(i)
        for segmentation in index.objects(i).segmentations:
            if segmentation is not None and max(size_hw) < 10_000:
                apply_masks([segmentation], size_hw, TransformParams((133, 200)))


def _convert(path: Path) -> None:
    for _ in read_coco(Source(path, None)):
        pass


def _split(path: Path) -> None:
    images = read_images(path)
    write_splits(path, {path.with_name("split.json"): frozenset(images.ids)}, images.header)


def _self_train(path: Path) -> None:
    save_coco(path.with_name("next.json"), merge_annotations(path, [], 0.3))


def _self_train_skip(path: Path) -> None:
    save_coco(path.with_name("next.json"), merge_annotations(path, path, 0.3, on_error="skip"))


def _self_train_results(path: Path) -> None:
    truth = path.with_name("truth.json")
    save_coco(truth, TRUTH)
    merge_annotations(truth, path, 0.3)


def _evaluate(path: Path) -> None:
    evaluate_coco(path, path, class_agnostic=False)


def _evaluate_results(path: Path) -> None:
    evaluate_coco(TRUTH, path, iou_types=["bbox"])
    evaluate_coco(TRUTH, path)


def _results(path: Path) -> None:
    load_predictions(path, load_coco(TRUTH).coco, on_error="skip")


def _shards(path: Path) -> None:
    source, output = path.with_suffix(".jsonl"), path.with_name("merged.json")
    path.rename(source)
    merge_shards([source], output)
    if "segmentation" in source.read_text():
        load_coco(output, on_error="skip")


def _linear(path: Path) -> None:
    load_weights(torch.nn.Linear(1, 1), path)


class Target(NamedTuple):
    """Files, what reads them, and how they are refused."""

    cases: st.SearchStrategy[str] | st.SearchStrategy[bytes]
    readers: dict[str, Callable[[Path], object]]
    error: type[CutlerError] = CutlerError
    lists_names: bool = False
    """Whether a sentence may be followed by lines of names."""


def _lines(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(texts, max_size=4).map(lambda lines: "\n".join([*lines, ""]))


TARGETS: dict[str, list[Target]] = {
    "coco": [
        Target(
            strategies.texts(strategies.files),
            {
                "load": load_coco,
                "load, skip": partial(load_coco, on_error="skip"),
                "index": _index,
                "convert": _convert,
                "split": _split,
                "self_train": _self_train,
                "self_train, skip": _self_train_skip,
                "evaluate": _evaluate,
            },
        ),
        Target(
            strategies.texts(strategies.results_lists),
            {
                "results, skip": _results,
                "evaluate results": _evaluate_results,
                "self_train results": _self_train_results,
            },
        ),
        Target(_lines(strategies.texts(strategies.shards)), {"merge shards": _shards}),
    ],
    "checkpoints": [
        Target(checkpoints.files, {"state": read_state, "resume": check_resume}, CheckpointError),
        Target(
            st.one_of(checkpoints.files, checkpoints.described),
            {"detector": load_detector, "backbone": load_backbone, "weights": _linear},
            CheckpointError,
            lists_names=True,
        ),
    ],
    "overrides": [Target(override_strategies.overrides(), {"check": override_strategies.check_overrides})],
}


def outcome(
    text: bytes, reader: Callable[[Path], object], folder: Path, error_type: type[CutlerError] = CutlerError
) -> str:
    """The sentence by which a reader refuses a file; nothing if it reads it."""
    path = folder / "case.json"
    path.write_bytes(text)
    os.utime(path, ns=(0, time.time_ns()))  # an index of its own
    faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
    try:
        reader(path)
    except error_type as error:
        return str(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return ""


def _case(target: Target, reader: Callable[[Path], object], folder: Path) -> Callable[[str | bytes], None]:
    def case(content: str | bytes) -> None:
        content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        sentence = outcome(content, reader, folder, target.error)
        assert target.lists_names or "\n" not in sentence
        assert len(sentence.partition("\n")[0]) < 3000
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        assert taken < MAX_BYTES, f"{taken:,} bytes of memory"

    return case


def fuzz(name: str, folder: Path, *, examples: int, start: int) -> None:
    """Run all readers of a target on so many cases each."""
    options = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    for target in TARGETS[name]:
        for reader in target.readers.values():
            seed(start)(options(given(target.cases)(_case(target, reader, folder))))()


def _round(words: list[str], number: int, folder: Path) -> None:
    """Run one round in a process of its own; end with its seed if it fails or crashes."""
    round_ = [sys.executable, __file__, *words, "--seed", str(number), "--folder", str(folder), "--minutes", "-1"]
    code = subprocess.run(round_, check=False).returncode
    if code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        sys.exit(f"seed {number} failed: {how}; its last case is {folder / 'case.json'}")


def main() -> None:
    """Run one round, or rounds of new seeds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="how long; one round if not given, in this process if -1"
    )
    parser.add_argument("--examples", type=int, default=200, help="cases per reader and round")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    parser.add_argument("--folder", type=Path, help="for the last case; by default a temporary one")
    parser.add_argument("--files", type=Path, nargs="+", help="read these instead")
    given_ = parser.parse_args()
    logging.getLogger("cutler_pl").setLevel(logging.CRITICAL)
    faulthandler.enable()
    folder = given_.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given_.files:
        readers = {name: reader for target in TARGETS[given_.target] for name, reader in target.readers.items()}
        for path in given_.files:
            said = {name: outcome(path.read_bytes(), reader, folder) for name, reader in readers.items()}
            print(json.dumps({path.name: said}), flush=True)
        return
    if given_.minutes < 0:
        fuzz(given_.target, folder, examples=given_.examples, start=given_.seed)
        return
    start, number = time.monotonic(), given_.seed
    print(f"cases in {folder}", file=sys.stderr)
    words = [given_.target, "--examples", str(given_.examples)]
    while number == given_.seed or time.monotonic() - start < 60 * given_.minutes:
        _round(words, number, folder)
        print(f"seed {number}: {given_.examples} cases per reader, {time.monotonic() - start:.0f} s in all", flush=True)
        number += 1


if __name__ == "__main__":
    main()
