import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from cutler_pl.runtime import environment
from cutler_pl.runtime.environment import run_metadata


def test_metadata_is_json_with_what_a_rerun_needs() -> None:
    metadata = json.loads(json.dumps(run_metadata(7), allow_nan=False))
    assert metadata["seed"] == 7
    assert metadata["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"cutler_pl", "commit", "python", "cpu_count", "threads", "gpus"} <= set(metadata)


def _checkout(folder: Path) -> str:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    return git("rev-parse", "HEAD")


def _installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = folder / "environment.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(environment.__file__, module)
    monkeypatch.setattr(environment, "__file__", str(module))
    return module


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed: install it to run this test")


@needs_git
def test_commit_of_changed_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is marked as dirty where files have changed."""
    module = _installed(tmp_path, monkeypatch)
    commit = _checkout(tmp_path)
    assert run_metadata()["commit"] == commit[:12]
    module.write_text("changed")
    assert run_metadata()["commit"] == f"{commit[:12]}-dirty"


@needs_git
def test_commit_ignores_surrounding_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that merely holds the virtual environment is not ours."""
    (tmp_path / "somebody.py").touch()
    _checkout(tmp_path)
    _installed(tmp_path / ".venv" / "lib", monkeypatch)
    assert run_metadata()["commit"] == "unknown (no git checkout)"


def test_commit_is_unknown_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_metadata()["commit"] == "unknown (no git checkout)"
