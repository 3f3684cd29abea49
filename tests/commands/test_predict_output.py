"""Where `predict` writes: a file with its JSON and record beside it, or a folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from .conftest import Command, Outcome, sentence

Predict = Callable[..., Outcome]


@pytest.fixture
def predict(command: Command, checkpoint: Path) -> Predict:
    """The command in the folder of `write_image`, on the CPU."""
    rest = (f"checkpoint={checkpoint}", "trainer=cpu", "num_workers=0")
    return lambda *words: command("scripts/predict.py", *rest, *words)


def test_image_gives_an_image(predict: Predict, write_image: Callable[..., Path], tmp_path: Path) -> None:
    image = write_image("a.png", (40, 60))
    words = (f"input={image}", f"output={tmp_path}/out/found.jpg")
    assert predict(*words).code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["found.jpg", "found.json", "found.run.yaml"]
    results = json.loads((tmp_path / "out" / "found.json").read_text())
    assert len(results) == 5
    assert {result["image_id"] for result in results} == {1}
    record = OmegaConf.load(tmp_path / "out" / "found.run.yaml")
    assert record.config.input == str(image)
    assert "torch" in record.run.packages
    with Image.open(tmp_path / "out" / "found.jpg") as overlay:
        assert overlay.size == (60, 40)

    assert predict(f"input={image}", f"output={tmp_path}/folder").code == 0
    assert json.loads((tmp_path / "folder" / "predictions.json").read_text()) == results

    assert "found.jpg: exists; add overwrite=true" in sentence(predict(*words))
    (tmp_path / "out" / "found.jpg").unlink()
    assert "found.json: exists; add overwrite=true" in sentence(predict(*words))
    assert predict(*words, "overwrite=true").code == 0
    assert "replace its own input=" in sentence(predict(f"input={image}", f"output={image}", "overwrite=true"))


def test_several_images_give_a_folder(predict: Predict, write_image: Callable[..., Path], tmp_path: Path) -> None:
    """Also where its name ends like that of an image; one of the images has a name like another's figure."""
    for name in ("a.jpg", "a.png", "b/a.png", "b/a.png.jpg", "c.jpeg"):
        write_image(f"images/{name}", (30, 40))
    assert predict(f"input={tmp_path}/images", f"output={tmp_path}/out.jpg").code == 0
    overlays = tmp_path / "out.jpg" / "overlays"
    names = sorted(path.relative_to(overlays).as_posix() for path in overlays.rglob("*.jp*g"))
    assert names[:-1] == ["a.jpg", "a.png.jpg", "b/a.png.jpg", "c.jpeg"]
    assert names[-1].startswith("elsewhere/a_png-")
    assert not any(name.lower().endswith(".jpg.jpg") for name in names)
    predictions = [(tmp_path / "out.jpg" / "predictions.json").read_text()]

    for number, source in enumerate([f"'{tmp_path}/images/**/*.*'", f"['{tmp_path}/images/b',{tmp_path}/images/*.*]"]):
        assert predict(f"input={source}", f"output={tmp_path}/{number}").code == 0
        predictions.append((tmp_path / str(number) / "predictions.json").read_text())
    assert len(set(predictions)) == 1


def test_missing_files_of_a_list_are_recorded(
    predict: Predict, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image("a.jpg", (30, 40))
    (tmp_path / "all.txt").write_text("a.jpg\nnone.jpg\n")
    assert predict(f"input={tmp_path}/all.txt", f"output={tmp_path}/out").code == 0
    assert "none.jpg" in (tmp_path / "out" / "failures.jsonl").read_text()
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 5


def test_run_of_another_input_is_kept(predict: Predict, write_image: Callable[..., Path], tmp_path: Path) -> None:
    first, second = write_image("a.jpg", (30, 40)), write_image("b.jpg", (30, 40), seed=1)
    out = tmp_path / "out"
    assert predict(f"input={first}", f"output={out}").code == 0
    assert predict(f"input={first}", f"output={out}", "max_detections=2").code == 0
    before = (out / "predictions.json").read_bytes()
    assert f"holds the predictions of input={first}" in sentence(predict(f"input={second}", f"output={out}"))
    assert (out / "predictions.json").read_bytes() == before
    assert predict(f"input={second}", f"output={out}", "overwrite=true").code == 0
    (out / "config.yaml").write_text("data: null\n")
    assert "holds the run of another command" in sentence(predict(f"input={first}", f"output={out}"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input=0"], "input=0: expected an image, a video, .*camera:<number>, found a number"),
        (["input=/dev/null"], "is neither a file nor a folder"),
        (["input=rtsp://host/a"], "no such file or folder"),
        (["input='none/*.jpg'"], "the pattern matches no image"),
        (["input=camera:front"], "input=camera:front: expected camera:<number>"),
        (["input=[[a.jpg]]"], "a list in a list"),
        (["input=a.jpg", "output=out.mp4"], "a.jpg gives an image; end the name in .jpg or .png"),
        (["input=a.jpg", "output=out.jpg", "overlays=false"], "overlays=false draws nothing to write"),
        (["input=[a.jpg]", "output=a.jpg"], "is a file, and several inputs need a folder"),
        (["input=a.jpg", "output=out.jpg", "trainer.precision=64-true"], "expected one of 32-true, 16-mixed"),
    ],
)
def test_bad_words_are_one_sentence(
    predict: Predict, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(write_image("a.jpg", (30, 40)).parent)
    line = sentence(predict("output=out", *words))
    assert re.search(message, line), line
