"""The detector people call: every kind of input gives the same, bad input gives one sentence."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from polygons import fill

from cutler_pl import CutLER, Result
from cutler_pl.coco import rle
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError, DatasetNotFoundError, InputError
from cutler_pl.images import read_image
from cutler_pl.models import load_detector


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> CutLER:
    return CutLER.from_pretrained(checkpoint, device="cpu")


def same(first: Result, second: Result) -> bool:
    return torch.equal(first.boxes, second.boxes) and list(first.encoded) == list(second.encoded)


def test_result_equals_the_detector(model: CutLER, checkpoint: Path, pixels: np.ndarray) -> None:
    (expected,) = load_detector(checkpoint)[0].eval()([torch.from_numpy(pixels).permute(2, 0, 1)])
    result = model.predict(pixels)
    order = expected["scores"].argsort(descending=True, stable=True)
    assert len(result) == len(order) == 8
    assert torch.equal(result.boxes, expected["boxes"][order])
    assert torch.equal(result.scores, expected["scores"][order])
    assert torch.equal(result.labels, expected["labels"][order])
    assert torch.equal(result.masks, expected["masks"][order])
    assert result.names == {1: "cat", 2: "dog"}
    assert result.image_size_hw == (60, 80)


def test_kinds_of_input_are_equal(model: CutLER, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "größe 1.png"
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    kinds = [path, str(path), Image.fromarray(pixels), pixels, tensor, tensor.float() / 255, pixels[:, ::-1][:, ::-1]]
    results = model.predict(kinds, batch_size=3)
    assert isinstance(results, list)
    assert len(results) == len(kinds)
    alone = model.predict(pixels)
    for result in results:
        torch.testing.assert_close(result.boxes, alone.boxes, rtol=1e-4, atol=1e-2)
    assert same(model.predict(path), alone)
    assert [len(result) for result in model.predict(np.stack([pixels, pixels]))] == [8, 8]


def test_images_are_taken_upright(model: CutLER, pixels: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "turned.png", exif=exif)
    upright = model.predict(pixels)
    assert same(model.predict(tmp_path / "turned.png"), upright)
    with Image.open(tmp_path / "turned.png") as image:
        assert same(model.predict(image), upright)


def test_folder_is_read_one_by_one(
    model: CutLER, write_image: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b/c.png", "d.png"):
        write_image(name)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    results = model.predict(tmp_path, batch_size=2)
    assert not isinstance(results, list)
    assert [str(result.path.relative_to(tmp_path)) for result in results] == ["a.png", "b/c.png", "d.png"]
    assert "broken.jpg" in caplog.text


def test_folder_of_unreadable_images_raises(model: CutLER, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetNotFoundError, match=r"none of the 1 images can be read.*broken\.jpg"):
        list(model.predict(tmp_path))


def test_threshold_acts_in_both_directions(model: CutLER, checkpoint: Path, pixels: np.ndarray) -> None:
    everything = model.predict(pixels)
    middle = float(everything.scores[3])
    assert len(model.predict(pixels, score_threshold=middle)) == 3
    strict = CutLER.from_pretrained(checkpoint, device="cpu", score_threshold=0.99)
    assert len(strict.predict(pixels)) == 0
    assert same(strict.predict(pixels, score_threshold=0.0), everything)


@pytest.mark.parametrize(
    ("image", "builtin", "message"),
    [
        ("none.jpg", FileNotFoundError, "none.jpg: no such file"),
        (__file__, OSError, "not readable as an image"),
        ([], ValueError, "the list of images is empty"),
        (["none.jpg"], FileNotFoundError, "none.jpg"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"uint8 \(3, 8, 8\); expected uint8 \(height, width, 3\)"),
        (np.zeros((8, 8, 3)), ValueError, "array of float64"),
        (np.zeros((8, 8), np.uint8), ValueError, r"\(8, 8\)"),
        (torch.zeros(8, 8, 3), ValueError, r"tensor of float32 \(8, 8, 3\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), ValueError, "int64"),
        (torch.full((3, 8, 8), 200.0), ValueError, "values from 200 to 200"),
        (torch.full((3, 8, 8), torch.nan), ValueError, "values from nan"),
        (np.zeros((1, 8, 3), np.uint8), OSError, "8×1 pixels, too small"),
    ],
)
def test_bad_images_get_one_sentence(model: CutLER, image: Any, builtin: type[Exception], message: str) -> None:
    with pytest.raises(CutlerError, match=message) as caught:
        model.predict(image)
    assert isinstance(caught.value, builtin)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "name"), [({"score_threshold": 2.0}, "score"), ({"batch_size": 0}, "batch")])
def test_bad_options_of_a_call_are_named(model: CutLER, pixels: np.ndarray, options: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        model.predict(pixels, **options)


@pytest.mark.parametrize(
    "options", [{"score_threshold": "high"}, {"max_detections": 2.5}, {"name": "mask_rcnn_r50_fpn"}], ids=str
)
def test_bad_options_of_a_detector_are_named(checkpoint: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        CutLER.from_pretrained(checkpoint, **options)


def test_arrays_of_images_give_no_warning(model: CutLER, pixels: np.ndarray) -> None:
    array = np.asarray(Image.fromarray(pixels))
    assert not array.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(model.predict(array), model.predict(pixels))


def test_misspelt_release_names_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"no such file.*did you mean cutler_cascade_final\?"):
        CutLER.from_pretrained("cutler_cascad_final")
    with pytest.raises(FileNotFoundError):
        CutLER.from_pretrained("none.ckpt")


def test_missing_device_is_named(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="device='nothing' is not there"):
        CutLER.from_pretrained(checkpoint, device="nothing")


def test_result_selects(model: CutLER, pixels: np.ndarray) -> None:
    result = model.predict(pixels)
    assert [len(one) for one in result] == [1] * 8
    assert same(result[-1], result[7:])
    assert torch.equal(result[result.labels == 2].labels, result.labels[result.labels == 2])
    assert result[[4, 0]].scores.tolist() == [result.scores[4], result.scores[0]]
    with pytest.raises(IndexError):
        result[8]
    assert result[:0].masks.shape == result[[]].masks.shape == (0, 60, 80)
    assert repr(result[0]) == "Result(1 object, image of 60×80 (height×width))"
    assert repr(model) == "CutLER(resnet18, 3 box stages, 2 classes, on cpu)"


def test_result_as_coco(model: CutLER, pixels: np.ndarray, tmp_path: Path) -> None:
    result = model.predict(pixels)
    records = result.to_coco(image_id=12)
    assert {record["category_id"] for record in records} <= {4, 9}
    assert [record["image_id"] for record in records] == [12] * 8
    assert np.array_equal(rle.decode(records[2]["segmentation"]), result.masks[2].numpy())
    result.save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == result.to_coco(image_id=1)


def test_result_as_supervision(model: CutLER, pixels: np.ndarray) -> None:
    result = model.predict(pixels)
    detections = result.to_supervision()
    assert type(detections).__name__ == "Detections"
    assert np.array_equal(detections.mask, result.masks.numpy())
    assert set(detections["class_name"]) <= {"cat", "dog"}
    assert len(result[:0].to_supervision()) == 0


def test_result_as_yolo_lines(model: CutLER, pixels: np.ndarray) -> None:
    result = model.predict(pixels)
    lines = result.to_yolo().splitlines()
    assert len(lines) == len(result) > 0
    for line, label, mask in zip(lines, result.labels.tolist(), result.masks.numpy(), strict=True):
        number, *numbers = line.split(" ")
        assert int(number) == label - 1
        points = np.array([float(text) for text in numbers]).reshape(-1, 2)
        if mask.any():
            np.testing.assert_array_equal(fill(points * pixels.shape[1::-1], mask.shape), mask)
        else:
            assert len(points) == 4
    assert result[:0].to_yolo() == ""


def test_result_is_drawn(model: CutLER, pixels: np.ndarray, tmp_path: Path) -> None:
    result = model.predict(pixels)
    drawn = result.plot()
    assert drawn.size == (80, 60)
    assert not np.array_equal(np.asarray(drawn), pixels)
    assert np.array_equal(np.asarray(result.plot(score_threshold=1.0)), pixels)
    result.save(tmp_path / "r.jpg")
    assert read_image(tmp_path / "r.jpg").shape == (60, 80, 3)
    with pytest.raises(InputError, match=r"r\.txt: the ending says what is written"):
        result.save(tmp_path / "r.txt")


def test_import_brings_no_torch() -> None:
    code = "import sys, cutler_pl; assert not {'torch', 'numpy', 'hydra'} & set(sys.modules); print(cutler_pl.CutLER)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CutLER" in done.stdout


def test_prediction_in_a_process_of_its_own(checkpoint: Path) -> None:
    """It brings neither Lightning nor Hydra; without this suite's type checks, other types get one sentence, too."""
    code = (
        "import sys, numpy; from cutler_pl import CutLER, MaskCut\n"
        f"model = CutLER.from_pretrained({str(checkpoint)!r})\n"
        "image = numpy.zeros((40, 50, 3), 'uint8'); model.predict(image)\n"
        "MaskCut('patch_descriptors', crf=False).predict(image)\n"
        "assert not {'lightning', 'hydra', 'omegaconf'} & set(sys.modules)\n"
        "for bad in (7, [None], None):\n"
        "    try: model.predict(bad)\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert "found int" in lines[0]
    assert "image 0 of the list is a NoneType" in lines[1]
    assert "found NoneType" in lines[2]
