"""The wheel in a fresh environment and an empty folder: commands, two processes, the Python API."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from cutler_pl.datasets.scenes import SceneParams, write_scenes

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "experiment=quickstart",
    "trainer=ddp_cpu",
    "trainer.devices=2",
    "trainer.max_steps=2",
    "data.batch_size=2",
    "data.num_workers=0",
    "callbacks.precise_bn=null",
    "seed=0",
)

pytestmark = pytest.mark.xdist_group("wheel")  # the environment is made once


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts folder of a fresh environment with the wheel, which sees this environment's packages but not this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True)
    (built,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    install = [*pip, "--python", str(scripts / "python"), "install", "--no-deps", "--no-index", str(built)]
    subprocess.run(install, check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder / "env"), "platbase": str(folder / "env")})
    (Path(paths["purelib"]) / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return scripts


@pytest.fixture
def run(environment: Path, tmp_path: Path):
    """Run a program of the environment in an empty folder."""
    empty = tmp_path / "empty folder"
    empty.mkdir()
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PROJECT_ROOT")}
    env |= {"OMP_NUM_THREADS": "1"}

    def run(program: str, *words: str) -> str:
        command = [str(environment / program), *words]
        done = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_commands_from_the_wheel(run, environment: Path) -> None:
    assert "maskcut" in run("cutler", "--help")
    assert run("cutler", "--version").startswith("cutler_pl 0.")
    where = run("python", "-c", "import cutler_pl; print(cutler_pl.__file__)")
    assert Path(where.strip()).is_relative_to(environment.parent)
    assert Path(where.strip()).with_name("weights").joinpath("tiny_generated.safetensors").is_file()
    assert "max_steps: 160000" in run("cutler", "train", "experiment=cutler_cascade", "--cfg", "job")
    listed = run("cutler", "weights")
    assert "cutler_cascade_final" in listed
    assert "tiny_generated" in listed


@pytest.mark.slow
def test_packaged_detector_predicts_from_the_wheel(run, tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", 1, SceneParams(height=64, width=64), seed=0)
    words = ("checkpoint=tiny_generated", f"input='{tmp_path / 'images'}'", "output=found", "trainer=cpu")
    run("cutler", "predict", *words)
    assert json.loads((tmp_path / "empty folder" / "found" / "predictions.json").read_text())


@pytest.mark.slow
def test_two_processes_from_the_wheel(run, tmp_path: Path) -> None:
    """Pseudo-masks, a training and a prediction by two processes each, then the same detector in Python."""
    images = tmp_path / "set" / "images"
    write_scenes(images, 4, SceneParams(height=64, width=64), seed=0)
    annotations = tmp_path / "set" / "annotations.json"
    empty = tmp_path / "empty folder"
    run("cutler", "maskcut", f"input='{images}'", "output=masks", "maskcut=patch_descriptors", "trainer=cpu")
    masks = json.loads((empty / "masks" / "annotations.json").read_text())
    assert len(masks["images"]) == 4
    run("cutler", "train", *TINY, f"data.images='{images}'", f"data.annotations='{annotations}'")
    (checkpoint,) = empty.glob("outputs/**/last.ckpt")
    overrides = (f"checkpoint='{checkpoint}'", f"input='{images}'", "output=found", "trainer=ddp_cpu", "num_workers=0")
    run("cutler", "predict", *overrides, "trainer.devices=2")
    found = json.loads((empty / "found" / "predictions.json").read_text())
    assert len(json.loads((empty / "found" / "images.json").read_text())["images"]) == 4
    code = (
        "from cutler_pl import CutLER, MaskCut\n"
        f"results = CutLER.from_pretrained({str(checkpoint)!r}).predict({str(images)!r})\n"
        "print(sum(len(result) for result in results), len(MaskCut('patch_descriptors').predict("
        f"{str(images / masks['images'][0]['file_name'])!r})))"
    )
    objects, first_masks = map(int, run("python", "-c", code).split())
    assert objects == len(found)
    assert first_masks == sum(annotation["image_id"] == 1 for annotation in masks["annotations"])


@pytest.mark.slow
def test_quickstart_from_the_wheel(run, tmp_path: Path) -> None:
    sizes = ("recipe.train_scenes=12", "recipe.test_scenes=4", "recipe.steps=4", "recipe.steps_round_1=2")
    run("cutler", "quickstart", *sizes)
    output = tmp_path / "empty folder" / "outputs" / "quickstart"
    assert (output / "index.html").is_file()
    assert set(json.loads((output / "results.json").read_text())) == {
        "pseudo-masks",
        "detector",
        "detector, self-trained",
    }
