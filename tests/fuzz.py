"""Fuzz what reads files of others. A case may end in a `CutlerError` of one line, in nothing else, and within seconds.

    python tests/fuzz.py --minutes 5 coco          random cases; prints the seed of each round
    python tests/fuzz.py --examples 100 --seed 1 coco
    python tests/fuzz.py coco --files a.json       what each reader of COCO files says of a file, as JSON

Native code is compiled for speed and may crash or hang, so cases run in this process, which nothing else shares; the
test suite starts it with few examples. The last case lies in --folder, which a crash leaves behind.
"""

import argparse
import faulthandler
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import coco_strategies as strategies
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cutler_pl.coco import load_coco, load_predictions, save_coco
from cutler_pl.coco.index import open_index
from cutler_pl.data.transforms import TransformParams, apply_mask
from cutler_pl.datasets.converters.coco_json import read_coco
from cutler_pl.datasets.converters.records import Source
from cutler_pl.datasets.splits import read_images, write_splits
from cutler_pl.errors import CutlerError
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.pseudo_masks.merge import merge_shards
from cutler_pl.self_training import merge_annotations

MAX_SECONDS = 30
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
                apply_mask(segmentation, size_hw, TransformParams((133, 200)))


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


class Target(NamedTuple):
    """Texts of files, and what reads them."""

    texts: st.SearchStrategy[str]
    readers: dict[str, Callable[[Path], object]]


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
}


def outcome(text: bytes, reader: Callable[[Path], object], folder: Path) -> str:
    """The sentence by which a reader refuses a file; nothing if it reads it."""
    path = folder / "case.json"
    path.write_bytes(text)
    os.utime(path, ns=(0, time.time_ns()))  # an index of its own
    faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
    try:
        reader(path)
    except CutlerError as error:
        return str(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return ""


def _case(reader: Callable[[Path], object], folder: Path) -> Callable[[str], None]:
    def case(text: str) -> None:
        sentence = outcome(text.encode(errors="surrogatepass"), reader, folder)
        assert "\n" not in sentence
        assert len(sentence) < 3000

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
    for texts, readers in TARGETS[name]:
        for reader in readers.values():
            seed(start)(options(given(texts)(_case(reader, folder))))()


def main() -> None:
    """Run one round, or rounds of new seeds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long; one round if not given")
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
    start, number = time.monotonic(), given_.seed
    print(f"cases in {folder}", file=sys.stderr)
    while number == given_.seed or time.monotonic() - start < 60 * given_.minutes:
        fuzz(given_.target, folder, examples=given_.examples, start=number)
        print(f"seed {number}: {given_.examples} cases per reader, {time.monotonic() - start:.0f} s in all", flush=True)
        number += 1


if __name__ == "__main__":
    main()
