"""Nothing outside the output folder is touched."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Command


def tree(folder: Path, *, without: Path) -> dict[str, str]:
    """Digest of every file below a folder, those of the output folder aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(without))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def listed(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A list file of an absolute path, a path that leads upwards, two of one name, and an elongated image."""
    first = write_image("images/a.jpg", seed=1)
    write_image("images/b/a.jpg", seed=2)
    write_image("up.png", seed=3)
    write_image("images/long.png", (2, 3000), seed=4)
    names = [str(first), "../images/b/a.jpg", "../up.png", "../images/long.png"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.txt").write_text("\n".join(names))
    return tmp_path / "lists" / "all.txt"


def test_maskcut_figures_stay_in_output(command: Command, tmp_path: Path, listed: Path) -> None:
    output = tmp_path / "out"
    before = tree(tmp_path, without=output)
    outcome = command(
        "scripts/maskcut.py", f"input={listed}", f"output={output}", "maskcut=patch_descriptors", "overlays=true",
        "maskcut.fixed_size=96", "num_workers=0", "trainer=cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path, without=output) == before
    assert len(list((output / "overlays").rglob("*.jpg"))) == 4
    assert len(list((output / "steps").rglob("*.jpg"))) == 4


def test_predict_figures_stay_in_output(command: Command, tmp_path: Path, checkpoint: Path, listed: Path) -> None:
    output = tmp_path / "out"
    before = tree(tmp_path, without=output)
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={listed}", f"output={output}", "trainer=cpu",
        "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path, without=output) == before
    assert len(list((output / "overlays").rglob("*.jpg"))) == 4
