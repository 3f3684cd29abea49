"""One case for each class of bad input and each command, as a user types it: in a process of its own."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from cutler_pl.coco.index import open_index

from .conftest import ROOT
from .hostile_folder import write_hostile_folder
from .test_outputs_contained import tree

pytestmark = pytest.mark.slow

MEMORY = 2 << 30
"""Bytes of resident memory that a refusal may take."""
SECONDS = 60
"""A hang, and no measure of speed: the machine may be busy."""

PREDICT = "predict checkpoint=good.ckpt input=good output=out trainer=cpu num_workers=0"
MASKCUT = "maskcut input=good output=out maskcut=patch_descriptors trainer=cpu num_workers=0"
TRAIN = (
    "train experiment=quickstart data.images=good data.annotations=coco.json paths.output_dir=out "
    "trainer.max_steps=1 data.num_workers=0 data.batch_size=2"
)
SELF_TRAIN = "self_train checkpoint=good.ckpt images=good annotations=coco.json output=out trainer=cpu num_workers=0"
EVALUATE = "evaluate predictions=coco.json annotations=coco.json output=out"
DETECTED = "evaluate checkpoint=good.ckpt images=good annotations=coco.json output=out trainer=cpu num_workers=0"
EXPORT = "export checkpoint=good.ckpt output=out/a.onnx"
CONVERT = "convert_checkpoint source=good.ckpt output=out/a.safetensors format=cutler_pl"
MERGE = "merge_shards output=out sources=[coco.json]"
SPLITS = "make_coco_splits annotations=coco.json output=out percents=[50]"
PREPARE = "prepare_dataset name=coco root=. annotations=coco.json images=good output=out/a.json"
QUICKSTART = "quickstart recipe.output=out"
OWN = "own images=good output=out maskcut=patch_descriptors"
EVERY = (PREDICT, MASKCUT, TRAIN, SELF_TRAIN, EVALUATE, EXPORT, CONVERT, MERGE, SPLITS, PREPARE, QUICKSTART, OWN)
OUTPUT = {TRAIN: "paths.output_dir", QUICKSTART: "recipe.output"}


class Case(NamedTuple):
    """A command with one thing wrong, and words of the sentence that says so."""

    line: str
    wrong: str
    words: str


def _outputs(value: str, words: str) -> list[Case]:
    return [Case(line, f"{OUTPUT.get(line, 'output')}={value}", words) for line in EVERY]


def _of(wrong: str, words: str, *lines: str) -> list[Case]:
    return [Case(line, wrong, words) for line in lines]


CASES = [
    *_outputs("2025", "quote it twice"),
    *_outputs("text.txt/below/a.json", "text.txt"),
    *_outputs("''", "empty"),
    *_of("input=0", "quote it twice", PREDICT, MASKCUT),
    *_of("input=[a]", "a list", PREDICT, MASKCUT),
    *_of("input=nowhere", "no such file", PREDICT, MASKCUT),
    *_of("input=eps", "a.jpg", PREDICT, MASKCUT),
    *_of("input=fifo", "a.jpg", PREDICT, MASKCUT),
    *_of("input=broken", "a.jpg", PREDICT, MASKCUT),
    *_of("input=list.txt", "list.txt, line 2", PREDICT, MASKCUT),
    *_of("checkpoint=0", "quote it twice", PREDICT, SELF_TRAIN, DETECTED, EXPORT),
    *(
        Case(line, f"{'source' if line == CONVERT else 'checkpoint'}={name}", name)
        for line in (PREDICT, SELF_TRAIN, DETECTED, EXPORT, CONVERT)
        for name in (
            "zero.ckpt",
            "text.txt",
            "list.ckpt",
            "described.ckpt",
            "cut.ckpt",
            "zeros.ckpt",
            "nan.ckpt",
            "long.pkl",
            "call.pth",
            "other.zip",
        )
    ),
    *(Case(TRAIN, f"resume={name}", name) for name in ("zero.ckpt", "cut.ckpt", "list.ckpt", "call.pth", "folder")),
    *(Case(TRAIN, f"model.init={name}", name) for name in ("zero.ckpt", "zeros.ckpt", "nan.ckpt", "call.pth")),
    *(
        Case(line, f"{'data.' if line == TRAIN else ''}annotations={name}.json", f"{name}.json")
        for line in (TRAIN, SELF_TRAIN, EVALUATE, DETECTED, SPLITS)
        for name in ("far", "near", "huge", "id", "number", "digits", "nested")
        if (line, name) not in {(SPLITS, "far"), (SPLITS, "near"), (SPLITS, "huge")}
    ),
    *(Case(MERGE, f"sources=[{name}.json]", f"{name}.json") for name in ("number", "digits", "nested")),
    Case(EVALUATE, "predictions=results.json", "results.json"),
    Case(TRAIN, "data.annotations=outside.json", "outside.json"),
    *_of("annotations=outside.json", "outside.json", SELF_TRAIN, DETECTED),
    *_of("batch_size=0", "batch_size", PREDICT, MASKCUT, SELF_TRAIN, DETECTED),
    *_of("num_workers=-1", "num_workers", PREDICT, MASKCUT, SELF_TRAIN, DETECTED),
    *_of("score_threshold=.nan", "score_threshold", PREDICT, SELF_TRAIN, DETECTED),
    *_of("trainer.precision=half", "precision", PREDICT, MASKCUT, TRAIN, SELF_TRAIN, DETECTED),
    *_of("maskcut.tau=abc", "maskcut.tau", MASKCUT, QUICKSTART),
    *_of("optimizer.lr=nan", "optimizer.lr", TRAIN),
    *_of("threshold=2", "threshold", SELF_TRAIN),
    *_of("num_examples=1.5", "num_examples", EVALUATE, PREPARE),
    *_of("percents=[0]", "percents", SPLITS),
    *_of("recipe.stages=5", "recipe.stages", QUICKSTART, OWN),
    *_of("images=nowhere", "no such file", OWN),
    *_of("images=broken", "can be read", OWN),
    *_of("max_detections=1.5", "max_detections", PREDICT, EXPORT),
    *_of("format=onnx", "format", CONVERT),
    *_of("allow_missing=maybe", "allow_missing", MERGE),
    *_of("nothing=1", "no setting 'nothing'", *EVERY),
    *_of("output=a=b", "two pairs of quotes", PREDICT, MASKCUT, EVALUATE),
    Case(SPLITS, "released=other.zip", "other.zip"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    write_hostile_folder(root)
    for name in ("coco.json", "outside.json"):
        open_index(root / name)  # the index of a sound annotation file lies beside it, whoever reads it
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line.split()[0]} {case.wrong}")
def test_refused_in_one_sentence(case: Case, folder: Path) -> None:
    command, *settings = case.line.split()
    given = [s for s in settings if s.partition("=")[0] != case.wrong.partition("=")[0]]
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = tree(folder, without=folder / "out")
    names = {path for path in folder.iterdir() if path.name != "out"}
    code, error, memory, seconds = _run([command, *given, case.wrong], folder)
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    print(f"{seconds:.1f} s, {memory / 2**20:.0f} MiB: {lines}")
    assert code == 1, error
    assert "Traceback" not in error
    assert len(lines) == 1, error
    assert case.words in lines[0]
    assert memory < MEMORY
    assert tree(folder, without=folder / "out") == before
    assert {path for path in folder.iterdir() if path.name != "out"} == names


def _run(words: list[str], folder: Path) -> tuple[int, str, int, float]:
    """Exit code, standard error, peak resident bytes and seconds of a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PROJECT_ROOT": str(folder), "CUTLER_PL_TRACEBACKS": "0"}
    start = time.monotonic()
    program = [sys.executable, "-c", "from cutler_pl.cli import main; main()", *words]
    with subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # the largest child so far
    return process.returncode, error, memory, time.monotonic() - start
