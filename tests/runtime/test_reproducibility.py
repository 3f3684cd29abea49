import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.runtime import reproducibility
from cutler_pl.runtime.reproducibility import generator, run_metadata


def _draw(*key: int) -> list[int]:
    return torch.randint(2**31, (4,), generator=generator(*key)).tolist()


@given(st.lists(st.integers(-(2**70), 2**70), max_size=4))
def test_equal_keys_give_equal_streams(key: list[int]) -> None:
    assert _draw(*key) == _draw(*key)


def test_random_stream_of_key_is_fixed() -> None:
    """The random stream of a key is the same on every machine and in every release."""
    assert generator(0, 1, 2).initial_seed() == 7403171608453988909


def test_neighbouring_keys_and_other_orders_give_other_streams() -> None:
    keys = [
        (),
        *((a,) for a in range(20)),
        *((a, b) for a in range(20) for b in range(20)),
        (0, 0, 0),
        (1, 2, 3),
        (3, 2, 1),
    ]
    assert len({tuple(_draw(*key)) for key in keys}) == len(keys)


def test_streams_of_neighbouring_keys_are_not_alike() -> None:
    draws = torch.stack([torch.rand(256, generator=generator(0, step)) for step in range(64)])
    correlation = torch.corrcoef(draws).fill_diagonal_(0)
    assert correlation.abs().max() < 0.35  # 256 values: one standard deviation is 0.06
    assert abs(draws[:, 0].mean() - 0.5) < 0.15


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    _draw(1, 2, 3)
    assert torch.equal(torch.get_rng_state(), before)


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
    module = folder / "reproducibility.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(reproducibility.__file__, module)
    monkeypatch.setattr(reproducibility, "__file__", str(module))
    return module


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


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
