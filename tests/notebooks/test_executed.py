"""Every notebook from its first cell to its last, on small settings, in a kernel of this environment."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING = (
    "model.detector.backbone=timm/test_resnet", "model.detector.fpn_channels=16", "model.detector.box_head_dim=16",
    "model.detector.mask_head_channels=8", "model.detector.mask_head_convs=1", "data.batch_size=2",
    "trainer.log_every_n_steps=1", "data.num_workers=0",
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "01_maskcut_step_by_step": {"side": 160, "num_masks": 2},
    "02_your_own_images": {"budget": "5s"},
    "03_predict_and_evaluate": {"num_scenes": 3},
    "04_train_and_self_train": {
        "train_scenes": 4, "test_scenes": 3, "steps": 3, "steps_round_1": 2, "settings": TRAINING,
    },
}  # fmt: skip
"""Settings in place of those of the cell tagged `parameters`."""
SHOWS = {
    "01_maskcut_step_by_step": ["the same masks, round by round: [True, True]"],
    "02_your_own_images": ["open outputs/own_images/own/index.html", "annotations.json"],
    "03_predict_and_evaluate": [
        "3 images,",
        "MaskCut, segm",
        "page: outputs/predict_and_evaluate/evaluation/index.html",
    ],
    "04_train_and_self_train": ["annotations before and after the round", "second, segm: AP"],
}
FIGURES = {
    "01_maskcut_step_by_step": 8, "02_your_own_images": 4, "03_predict_and_evaluate": 2, "04_train_and_self_train": 5,
}  # fmt: skip


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing is read from or written to the user's settings of Jupyter, and no network is there."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "PROJECT_ROOT")
    folders = {name: str(tmp_path / name) for name in names}
    unreachable = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return dict(os.environ) | folders | unreachable | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_runs_to_its_end(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """As papermill does, a cell with settings follows the parameters."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (place,) = (n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    settings = "\n".join(f"{key} = {value!r}" for key, value in SMALL[name].items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(settings))
    nbformat.write(notebook, tmp_path / "small.ipynb")

    script, folder = Path(__file__).with_name("execute.py"), tmp_path / "work"
    folder.mkdir()
    command = [sys.executable, str(script), str(tmp_path / "small.ipynb"), str(tmp_path / "done.ipynb"), str(folder)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ended.returncode == 0, ended.stderr

    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert [words for words in SHOWS[name] if words not in text] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
