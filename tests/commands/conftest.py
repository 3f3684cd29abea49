"""Running the project's commands as a user types them, inside the test process."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    out: str


Command = Callable[..., Outcome]


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
