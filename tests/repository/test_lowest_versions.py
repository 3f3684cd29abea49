"""The lowest versions that pyproject.toml declares install together and carry the package."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from cutler_pl.datasets.scenes import SceneParams, write_scenes

ROOT = Path(__file__).resolve().parents[2]
TRAIN = (
    "experiment=quickstart", "trainer=cpu", "trainer.max_steps=2", "data.batch_size=2", "data.num_workers=0",
    "callbacks.precise_bn=null", "seed=0",
)  # fmt: skip
PYTHON = """
import sys
from cutler_pl import CutLER, MaskCut
image, checkpoint = sys.argv[1:]
masks = MaskCut("patch_descriptors", device="cpu").predict(image)
found = CutLER.from_pretrained(checkpoint, device="cpu").predict(image)
found.plot().save("found.png")
print(len(masks), masks.masks.shape[1:] == found.masks.shape[1:])
"""


def install(folder: Path) -> Path:
    """A fresh environment with the lowest versions; its scripts folder."""
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", str(scripts / "python")]
    if "TORCH_INDEX" in os.environ:  # as in scripts/environment.sh: a build of torch from its own index
        command += ["--extra-index-url", os.environ["TORCH_INDEX"], "--index-strategy", "unsafe-best-match"]
    source = folder.parent / "source"  # what a build writes stays out of the checkout
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "outputs", "tests", "build", "dist"))
    subprocess.run([*command, "--resolution", "lowest-direct", str(source)], check=True)
    return scripts


def smoke(scripts: Path, folder: Path) -> None:
    """Masks, a training, a prediction, an evaluation and the Python API, in an empty folder."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PROJECT_ROOT")}
    env |= {"OMP_NUM_THREADS": "1"}

    def run(program: str, *words: str) -> str:
        command = [str(scripts / program), *words]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    folder.mkdir()
    write_scenes(folder / "set" / "images", 4, SceneParams(height=64, width=64), seed=0)
    assert "BAD" not in run("cutler", "doctor")
    run("cutler", "maskcut", "input=set/images", "output=masks", "maskcut=patch_descriptors", "trainer=cpu")
    run("cutler", "train", *TRAIN, "data.images=set/images", "data.annotations=set/annotations.json")
    (checkpoint,) = folder.glob("outputs/**/last.ckpt")
    data = (f"checkpoint={checkpoint}", "num_workers=0", "trainer=cpu")
    run("cutler", "predict", *data, "input=set/images", "output=found")
    run("cutler", "evaluate", *data, "images=set/images", "annotations=set/annotations.json", "output=measured")
    assert (folder / "measured" / "report.csv").is_file()
    image = next((folder / "set" / "images").iterdir())
    count, same_size = run("python", "-c", PYTHON, str(image), str(checkpoint)).split()
    assert int(count) > 0
    assert same_size == "True"


@pytest.mark.slow
@pytest.mark.network
def test_lowest_versions_pass_a_smoke_test(tmp_path: Path) -> None:
    """Minutes, and gigabytes where torch comes with CUDA."""
    smoke(install(tmp_path / "env"), tmp_path / "empty folder")
