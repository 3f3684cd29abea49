"""Running the project's commands as a user types them, inside the test process."""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import small_models
import torch

from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import MODEL_CONFIG_KEY, detector_config

ROOT = Path(__file__).resolve().parents[2]
LATIN_1 = os.fsdecode(b"gr\xf6\xdfe.png")
"""A file name in Latin-1 bytes, which are not UTF-8."""

SMALL = small_models.SMALL | {
    "anchor_sizes": [8, 16, 32, 64, 128],
    "max_detections": 5,
    "min_size_test": 64,
    "max_size_test": 96,
}


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    out: str


Command = Callable[..., Outcome]


def sentence(outcome: Outcome) -> str:
    """The one sentence of a command that has refused its input."""
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("error: "))
    return line


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`command("scripts/predict.py", "input=a", …)`, run in an empty folder."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def run(script: str, *overrides: str) -> Outcome:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setenv("CUTLER_PL_TRACEBACKS", "0")
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *overrides])
        capsys.readouterr()
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.err, captured.out)

    return run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small detector of two classes that has not been trained."""
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 2, **SMALL)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    config = detector_config(model, category_ids=[3, 8], class_names=["cat", "dog"])
    torch.save({"state_dict": state, MODEL_CONFIG_KEY: config}, tmp_path / "small.ckpt")
    return tmp_path / "small.ckpt"
