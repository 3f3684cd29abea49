"""A training that is killed, or preempted, at random moments against one that is not: nothing may differ.

A small detector trains on generated scenes with 2 loader processes, precise batch normalisation and validation: once
without interruption, once with 10 kills (SIGKILL, of the first process or of all of them), and with 5 preemptions by
SIGTERM and 5 by SIGUSR1 in a job of a stand-in for SLURM. Each start goes on by `resume=auto`. The table compares the
checkpoint that each start goes on from, and what is logged by then, with the uninterrupted run, bit for bit. The exit
status is 1 where anything differs.

    python benchmarks/kills.py [--seed 0] [--kills 10] [--preemptions 5]
"""

import argparse
import csv
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.environment import run_metadata

ROOT = Path(__file__).resolve().parents[1]
STEPS = 48
LAST_TARGET = 40
SMALL = (
    "experiment=quickstart", "model.detector.backbone=timm/test_resnet", "model.detector.fpn_channels=16",
    "model.detector.box_head_dim=16", "model.detector.mask_head_channels=8", "model.detector.mask_head_convs=1",
    "model.detector.rpn_pre_nms_train=50", "model.detector.rpn_post_nms_train=40", "data.train_sizes=[48]",
    "data.max_size=64", "data.batch_size=2", "data.num_workers=2", "data/validation=folder", "callbacks=default",
    "callbacks.precise_bn.num_batches=2", "callbacks.precise_bn.max_share=null", "callbacks.visual_samples=null",
    "callbacks.checkpoint.every_n_steps=3", "callbacks.checkpoint.save_top_k=null", f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=5", "trainer.log_every_n_steps=2",
)  # fmt: skip
TIMED = ("train/images_per_s", "train/data_wait")
LONGEST_START, LONGEST_DELAY = 8.0, 0.6  # seconds in which a moment is drawn
PATIENCE = 240.0


@dataclass(frozen=True)
class Series:
    """A way to interrupt a training, and the exit status that it has to end with."""

    name: str
    signum: signal.Signals
    status: int
    slurm: bool


KILLS = Series("SIGKILL", signal.SIGKILL, 128 + signal.SIGKILL, slurm=False)
PREEMPTIONS = (
    Series("SIGTERM, SLURM", signal.SIGTERM, 128 + signal.SIGTERM, slurm=True),
    Series("SIGUSR1, SLURM", signal.SIGUSR1, 0, slurm=True),
)


def main() -> None:
    """Print the table; exit with 1 where anything differs."""
    options = read_options()
    torch.set_num_threads(1)
    print(f"commit {run_metadata()['commit']}, seed {options.seed}, {STEPS} steps", flush=True)
    print("| signal | at step | to | exit | resumed from | weights | optimizer | metrics rows | validations |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    differences = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "set" / "images", 6, SceneParams(height=48, width=64), seed=0)
        whole = Run(folder, "whole")
        whole.start("callbacks.checkpoint.every_n_steps=1")
        whole.end()
        rng = random.Random(options.seed)
        for series, count in [(KILLS, options.kills), *((series, options.preemptions) for series in PREEMPTIONS)]:
            differences += sum(not row.is_equal for row in interrupted(series, count, whole, rng))
    print("nothing differs" if differences == 0 else f"{differences} rows of the table differ")
    raise SystemExit(int(differences > 0))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--preemptions", type=int, default=5, help="by each of the two signals")
    return parser.parse_args()


class Run:
    """A training that is started again and again in one folder."""

    def __init__(self, folder: Path, name: str, *, slurm: bool = False) -> None:
        self.folder, self.name, self.slurm = folder, name, slurm
        self.output = folder / "outputs" / "quickstart" / f"slurm_{name}" if slurm else folder / name
        self.starts = 0

    def start(self, *settings: str) -> None:
        """Start or go on, as a group of processes of its own."""
        data = [f"images={self.folder}/set/images", f"annotations={self.folder}/set/annotations.json"]
        place = [] if self.slurm else [f"paths.output_dir={self.output}"]
        words = [*SMALL, *(f"{of}.{word}" for of in ("data", "data.validation") for word in data), *place]
        self.starts += 1
        self.log = self.folder / f"{self.name}_{self.starts}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "train.py"), *words, "resume=auto", *settings], stdout=subprocess.DEVNULL,
                stderr=log, cwd=self.folder, env=self._environment(), start_new_session=True,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PROJECT_ROOT": str(self.folder)}
        if self.slurm:
            scontrol = self.folder / "bin" / "scontrol"
            scontrol.parent.mkdir(exist_ok=True)
            scontrol.write_text(f'#!/bin/sh\necho "$@" >> {self.folder}/asked\n')
            scontrol.chmod(0o755)
            own |= {
                "PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": self.name, "SLURM_LOCALID": "0",
                "SLURM_JOB_NAME": "cutler", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_NODEID": "0",
                "SLURM_RESTART_COUNT": str(self.starts - 1),
            }  # fmt: skip
        return {**os.environ, **own}

    def end(self) -> int:
        """Wait for the process and all of its group; the exit status as a shell gives it."""
        status = self.process.wait(PATIENCE)
        deadline = time.monotonic() + 15
        while left := processes_of(self.process.pid):
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise SystemExit(f"{self.name}: {len(left)} processes outlive the first one")
            time.sleep(0.1)
        return 128 - status if status < 0 else status

    def interrupt(self, series: Series, target: int, rng: random.Random) -> tuple[int, str, int]:
        """Send a signal at a random moment from a step on; the step, whom it was sent to, and the exit status.

        A step that was reached before stands for a kill while the training starts, or a preemption in its first step.
        """
        delay, whole_group = rng.random(), rng.random() < 0.5
        started, first = time.monotonic(), self.step()
        if first >= target and series is KILLS:
            while self.step() <= first and time.monotonic() < started + delay * LONGEST_START:
                time.sleep(0.02)
        else:
            target = max(target, first + 1)
            while self.step() < target and self.process.poll() is None and time.monotonic() < started + PATIENCE:
                time.sleep(0.02)
            time.sleep(delay * LONGEST_DELAY)
        step = self.step()
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} has ended before its interruption: {self.log.read_text()[-2000:]}")
        (os.killpg if whole_group else os.kill)(self.process.pid, series.signum)
        return step, "all processes" if whole_group else "the first", self.end()

    def step(self) -> int:
        """The newest step that a checkpoint or a row of metrics is of."""
        return max([0, *self.checkpoints(), *(step + 1 for step in self.rows())])

    def checkpoints(self) -> list[int]:
        """Steps with a checkpoint."""
        return [int(path.stem.removeprefix("step_")) for path in self.output.glob("checkpoints/step_*.ckpt")]

    def rows(self) -> dict[int, dict[str, str]]:
        """Logged values by step, of the last start that logged it; without those that measure time."""
        found: dict[int, dict[str, str]] = {}
        for path in sorted(self.output.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name[8:])):
            for row in csv.DictReader(path.read_text().splitlines()):
                values = {name: value for name, value in row.items() if value and name not in TIMED}
                found.setdefault(int(row["step"]), {}).update(values)
        return found

    def resumed_from(self) -> int:
        """The step that the last start has gone on from; 0 where it has begun anew."""
        found = re.search(r"resumed from \S+ at step (\d+)$", self.log.read_text(), re.MULTILINE)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Row:
    """What one interruption, or the end, has changed."""

    weights: bool
    optimizer: bool
    metrics: bool
    validations: bool
    status: bool

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return self.weights and self.optimizer and self.metrics and self.validations and self.status

    def cells(self) -> str:
        """The last columns of the table."""
        flags = (self.weights, self.optimizer, self.metrics, self.validations)
        return " | ".join("equal" if flag else "**different**" for flag in flags)


def interrupted(series: Series, count: int, whole: Run, rng: random.Random) -> Iterator[Row]:
    """Run a training with so many interruptions and a last start that ends it; one row for each."""
    run = Run(whole.folder, str(series.signum.value), slurm=series.slurm)
    targets = sorted(rng.sample(range(1, LAST_TARGET), count))
    run.start()
    for target in targets:
        step, to, status = run.interrupt(series, target, rng)
        newest = max([0, *run.checkpoints()])
        row = compare(run, whole, step=newest, ok=status == series.status, is_end=False)
        run.start()
        resumed = wait_for_resume(run)
        seen = f"{status}" if row.status else f"**{status}**"
        print(f"| {series.name} | {step} | {to} | {seen} | {resumed} | {row.cells()} |", flush=True)
        yield row
    status = run.end()
    row = compare(run, whole, step=STEPS, ok=status == 0, is_end=True)
    print(f"| {series.name}, end | {run.step()} | | {status} | | {row.cells()} |", flush=True)
    yield row


def compare(run: Run, whole: Run, *, step: int, ok: bool, is_end: bool) -> Row:
    """Compare the checkpoint of a step and what is logged; at the end, nothing may be missing either."""
    weights = optimizer = True
    if step > 0:
        one, other = (load(of.output / "checkpoints" / f"step_{step:07d}.ckpt") for of in (run, whole))
        weights = same(one["state_dict"], other["state_dict"])
        optimizer = all(same(one[part], other[part]) for part in ("optimizer_states", "lr_schedulers", "global_step"))
    parts = []
    for is_validation in (False, True):
        logged, expected = (of_kind(of.rows(), is_validation) for of in (run, whole))
        parts.append(logged == expected if is_end else all(expected.get(key) == logged[key] for key in logged))
    if is_end:
        predictions = [(of.output / "val_predictions.json").read_bytes() for of in (run, whole)]
        parts[1] = parts[1] and predictions[0] == predictions[1]
    return Row(weights, optimizer, parts[0], parts[1], ok)


def of_kind(rows: Mapping[int, Mapping[str, str]], is_validation: bool) -> dict[tuple[int, str], str]:
    """Values of validations, or of steps, by step and name."""
    return {
        (step, name): value
        for step, row in rows.items()
        for name, value in row.items()
        if name.startswith("val/") == is_validation and name != "step"
    }


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def same(one: Any, other: Any) -> bool:
    """Whether two nested values hold the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def wait_for_resume(run: Run) -> int | str:
    """The step that a start goes on from, once it says so."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and run.process.poll() is None:
        text = run.log.read_text()
        if re.search("^.*(resumed from .* at step|starts anew|training is finished)", text, re.MULTILINE):
            return run.resumed_from()
        time.sleep(0.05)
    return "?"


def processes_of(session: int) -> list[int]:
    """Processes of a session that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and int(fields[3]) == session:
            found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    main()
