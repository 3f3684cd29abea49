"""What `scripts/quickstart.sh` hands on, with a stand-in for the environment that it makes."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
project_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$project_root/words"
ensure_environment() { :; }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "quickstart.sh").write_text((ROOT / "scripts" / "quickstart.sh").read_text())
    (tmp_path / "scripts" / "environment.sh").write_text(STAND_IN)
    words = tmp_path / "words"
    words.write_text("#!/usr/bin/env bash\nprintf '%s\\n' \"$@\"\n")
    words.chmod(0o755)
    return tmp_path


def run(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(project / "scripts" / "quickstart.sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)


def test_without_folder_runs_quickstart(project: Path) -> None:
    assert run(project, "seed=1").stdout.split() == ["scripts/recipe.py", "recipe=quickstart", "seed=1"]


def test_folder_runs_own_with_fallback(project: Path) -> None:
    (project / "my images (1), Ann's").mkdir()
    assert run(project, "my images (1), Ann's").stdout.splitlines() == [
        "scripts/own.py",
        f"images='{project}/my images (1), Ann\\'s'",
        f"output='{project}/outputs/own/my images (1), Ann\\'s'",
        "fallback=patch_descriptors",
    ]


def test_settings_replace_the_fallback(project: Path) -> None:
    (project / "set").mkdir()
    words = run(project, "set", "budget=4min", "maskcut=dino_vits16").stdout.splitlines()
    assert words[3:] == ["budget=4min", "maskcut=dino_vits16"]


@pytest.mark.parametrize("words", [("none",), ("my", "images")])
def test_missing_folder_is_said(project: Path, words: tuple[str, ...]) -> None:
    outcome = run(project, *words)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert f"{words[0]}: no such folder" in outcome.stderr


def test_setting_without_equals_is_refused(project: Path) -> None:
    (project / "set").mkdir()
    assert run(project, "set", "fast").returncode == 2
