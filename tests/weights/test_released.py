import re
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.models import build_detector, load_weights
from cutler_pl.weights.released import RELEASED, fetch, released_address

ROOT = "https://dl.fbaipublicfiles.com/cutler/checkpoints/"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, path: str, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_all_released_files_have_a_name() -> None:
    assert len(RELEASED) == 16
    assert released_address("cutler_cascade_final") == f"{ROOT}cutler_cascade_final.pth"
    assert released_address("cutler_semi_10perc.pth") == f"{ROOT}cutler_semi_10perc.pth"
    assert released_address("dino_RN50_pretrain_d2_format.pkl") == f"{ROOT}dino_RN50_pretrain_d2_format.pkl"


@pytest.mark.parametrize("name", ["cutler_cascade_final.pkl", "cutler", "", "folder/cutler_cascade_final.pth"])
def test_other_names_are_not_released(name: str) -> None:
    assert released_address(name) is None


def test_unknown_source_lists_the_released_names() -> None:
    with pytest.raises(
        CheckpointError, match=r"weights\.pth: no such file.*cutler_cascade_final.*cutler_fully_100perc"
    ):
        load_weights(torch.nn.Linear(1, 1), "weights.pth")


def test_file_is_fetched_once_and_then_taken_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def download(address: str, path: str, **options: object) -> None:
        fetched.append(address)
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        path = fetch(RELEASED["cutler_cascade_r1"])
        assert path == cache / "cutler_cascade_r1.pth"
        assert path.read_bytes() == b"weights"
    assert fetched == [f"{ROOT}cutler_cascade_r1.pth"]


def test_files_of_one_name_from_two_addresses_are_kept_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda a, path, **_: Path(path).write_text(a))
    one, two = (fetch(f"https://example.org/{folder}/model.pth?x=1") for folder in "ab")
    assert one != two
    assert one.suffix == ".pth"
    assert (one.read_text(), two.read_text()) == (
        "https://example.org/a/model.pth?x=1",
        "https://example.org/b/model.pth?x=1",
    )


@pytest.mark.usefixtures("offline")
def test_without_a_connection_the_message_says_what_was_tried_and_what_to_do(cache: Path) -> None:
    pattern = re.escape(str(cache / "cutler_mrcnn_final.pth"))
    with pytest.raises(CheckpointError, match=pattern) as error:
        load_weights(torch.nn.Linear(1, 1), "cutler_mrcnn_final")
    assert f"{ROOT}cutler_mrcnn_final.pth: cannot be fetched" in str(error.value)
    assert "no route to host" in str(error.value)
    assert "give the path of your copy" in str(error.value)


@pytest.mark.usefixtures("offline")
def test_released_file_put_into_the_cache_by_hand_is_used(cache: Path) -> None:
    model = build_detector("mask_rcnn_r50_fpn", backbone="resnet18", fpn_channels=8, box_head_dim=8)
    cache.mkdir()
    torch.save({"model": model.state_dict()}, cache / "cutler_mrcnn_final.pth")
    assert load_weights(model, "cutler_mrcnn_final").source == "cutler_mrcnn_final"


def test_plain_http_is_refused() -> None:
    with pytest.raises(CheckpointError, match="only https"):
        fetch("http://example.org/model.pth")
