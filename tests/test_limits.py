"""Every limit on files of others is an option: what is just within it passes, what is just above names the option."""

import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_server import serving
from PIL import Image

from cutler_pl import cli
from cutler_pl.coco import load_coco
from cutler_pl.coco.index import open_index
from cutler_pl.coco.stream import read_records
from cutler_pl.commands import doctor
from cutler_pl.datasets.released_annotations import extract_member
from cutler_pl.errors import ConfigError, CutlerError
from cutler_pl.images import read_image
from cutler_pl.models.config import make_config
from cutler_pl.models.description import described_options
from cutler_pl.runtime import limits
from cutler_pl.runtime.download import fetch_file
from cutler_pl.runtime.limits import LIMITS, Limit
from cutler_pl.weights.files import read_checkpoint

Case = Callable[[Path, int], object]
SIZES = {200: (10, 20), 201: (3, 67)}


def _image(folder: Path, pixels: int) -> None:
    path = folder / "a.png"
    Image.new("RGB", SIZES[pixels]).save(path)
    read_image(path)


def _coco(folder: Path, polygon: list[float]) -> None:
    path = folder / f"{polygon}.json"
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": [polygon]}
    image = {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "fg"}]}
    path.write_text(json.dumps(content))
    load_coco(path)
    open_index(path)


def _far(folder: Path, lengths: int) -> None:
    _coco(folder, [-30.0 * lengths, 0, 9, 0, 9, 9])


def _outline(folder: Path, pixels: int) -> None:
    _coco(folder, [0, 0, pixels / 2 - 10, 0, pixels / 2 - 10, 10, 0, 10])


def _value(folder: Path, characters: int) -> None:
    path = folder / "a.json"
    path.write_text(json.dumps({"info": "x" * (characters - 2)}))
    list(read_records(path, require=()))


def _instructions(folder: Path, count: int) -> None:
    content = b"\x80\x02" + b"N0" * ((count - 3) // 2) + b"}" + (b"" if count % 2 else b"q\x00") + b"."
    assert sum(1 for _ in pickletools.genops(content)) == count
    (folder / "a.pkl").write_bytes(content)
    read_checkpoint(folder / "a.pkl")


def _unfolded(folder: Path, sizes: int) -> None:
    stored, shared = 2 << 20, [0] * 1000  # each value counts as four bytes
    unfolded = (sizes - 1) * stored + (1 << 20) + stored // 2
    (folder / "a.pkl").write_bytes(pickle.dumps({"a": "x" * stored, "b": [shared] * (unfolded // 4000)}))
    read_checkpoint(folder / "a.pkl")


def _channels(_: Path, channels: int) -> None:
    described = {"detector": {"fpn_channels": channels}, "category_ids": [1], "class_names": None}
    described_options(described, {}, name="a.ckpt")
    assert make_config("mask_rcnn_r50_fpn", num_classes=channels).num_classes == channels


def _test_size(_: Path, pixels: int) -> None:
    for option in ("min_size_test", "max_size_test"):
        described = {"detector": {option: pixels}, "category_ids": [1], "class_names": None}
        described_options(described, {}, name="a.ckpt")
    assert make_config("mask_rcnn_r50_fpn", min_size_test=pixels).min_size_test == pixels


def _download(folder: Path, size: int) -> None:
    for announces in (True, False):
        with serving() as server:
            server.announces = announces
            server.files["/a"] = bytes(size)
            fetch_file(f"{server.address}/a", folder / f"{announces}-{size}", attempts=1)


def _unpacked(folder: Path, size: int) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a.json", bytes(size))
    extract_member(folder / "a.zip", folder / "a.json")


CASES: dict[Limit, tuple[int, Case]] = {
    limits.IMAGE_PIXELS: (200, _image),
    limits.REACH: (12, _far),
    limits.OUTLINE: (40, _outline),
    limits.JSON_VALUE: (3 << 20, _value),
    limits.PICKLE_INSTRUCTIONS: (101, _instructions),
    limits.UNFOLDING: (3, _unfolded),
    limits.CHANNELS: (512, _channels),
    limits.TEST_SIZE: (512, _test_size),
    limits.DOWNLOAD_BYTES: (5000, _download),
    limits.UNPACKED_BYTES: (5000, _unpacked),
}


def _named(limit: Limit) -> str:
    return limit.option


def _of_time(limit: Limit) -> Any:
    """The limit; `UNFOLDING` unfolds half a gigabyte for a minute."""
    return pytest.param(limit, marks=pytest.mark.slow if limit is limits.UNFOLDING else ())


@pytest.mark.parametrize("limit", [_of_time(limit) for limit in LIMITS], ids=_named)
def test_limit_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Limit) -> None:
    number, case = CASES[limit]
    monkeypatch.setenv(limit.option, str(number))
    case(tmp_path, number)
    with pytest.raises(CutlerError) as error:
        case(tmp_path, number + 1)
    sentence = str(error.value)
    assert f"raise the limit by the environment variable {limit.option}=" in sentence
    assert "\n" not in sentence
    assert sentence.count(limit.option) == 1
    monkeypatch.setenv(limit.option, str(number + 1))
    case(tmp_path, number + 1)


@pytest.mark.parametrize("limit", LIMITS, ids=_named)
def test_wrong_option_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Limit) -> None:
    """Wherever the limit is first needed, not only where a command checks all of them."""
    number, case = CASES[limit]
    monkeypatch.setenv(limit.option, "many")
    with pytest.raises(ConfigError, match=rf"^{limit.option}='many' should be a whole number from 1 on.*unset it"):
        case(tmp_path, number)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e9", "nan", "9" * 30, "²"])
def test_option_is_a_whole_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(limits.REACH.option, text)
    with pytest.raises(ConfigError, match="should be a whole number from 1 on"):
        limits.check_limits()


def test_option_may_have_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.IMAGE_PIXELS.option, " 1_000_000 ")
    limits.check_limits()
    assert limits.IMAGE_PIXELS.value() == 1_000_000


def test_unknown_option_suggests_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CUTLER_PL_MAX_IMAGE_PIXEL", "5")
    with pytest.raises(SystemExit) as stop:
        cli.run("doctor", [])
    assert stop.value.code == 1
    assert "did you mean CUTLER_PL_MAX_IMAGE_PIXELS?" in capsys.readouterr().err


def test_doctor_lists_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.REACH.option, "12")
    lines = [text for _, text in doctor._limits()]
    assert [line.partition("=")[0] for line in lines] == [limit.option for limit in LIMITS]
    assert any(line.startswith("CUTLER_PL_MAX_REACH=12, set in the environment: ") for line in lines)


def test_page_has_all_limits() -> None:
    page = (Path(__file__).parents[1] / "docs" / "untrusted-files.md").read_text(encoding="utf-8")
    for limit in LIMITS:
        assert f"| `{limit.option}` | {limit.default:,} |" in page
