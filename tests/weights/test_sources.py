import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from file_server import FileServer, serving
from huggingface_hub.errors import LocalEntryNotFoundError

from cutler_pl.errors import CheckpointError, WeightsNotFoundError
from cutler_pl.models import build_detector, load_weights
from cutler_pl.runtime import download
from cutler_pl.weights import hub, sources
from cutler_pl.weights.sources import RELEASED, locate_weights, released_address

ROOT = "https://dl.fbaipublicfiles.com/cutler/checkpoints/"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(download._opener, "open", refuse)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)


def test_all_released_files_have_a_name() -> None:
    assert len(RELEASED) == 16
    assert released_address("cutler_cascade_final") == f"{ROOT}cutler_cascade_final.pth"
    assert released_address("cutler_semi_10perc.pth") == f"{ROOT}cutler_semi_10perc.pth"
    assert released_address("dino_RN50_pretrain_d2_format.pkl") == f"{ROOT}dino_RN50_pretrain_d2_format.pkl"


@pytest.mark.parametrize("name", ["cutler_cascade_final.pkl", "cutler", "", "folder/cutler_cascade_final.pth"])
def test_other_names_are_not_released(name: str) -> None:
    assert released_address(name) is None


def test_unknown_source_names_the_ways_out() -> None:
    with pytest.raises(CheckpointError, match=r"weights\.pth: no such file.*cutler weights lists the names"):
        load_weights(torch.nn.Linear(1, 1), "weights.pth")
    with pytest.raises(CheckpointError, match=r"did you mean cutler_cascade_final\?"):
        load_weights(torch.nn.Linear(1, 1), "cutler_cascade")
    with pytest.raises(CheckpointError, match=r"did you mean tiny_generated\?"):
        load_weights(torch.nn.Linear(1, 1), "tiny_genrated")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serving() as server:
        yield server


def test_file_is_fetched_once(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/cutler_cascade_r1.pth"] = b"weights"
    monkeypatch.setitem(sources.RELEASED, "cutler_cascade_r1", f"{server.address}/cutler_cascade_r1.pth")
    for _ in range(2):
        path = locate_weights("cutler_cascade_r1")
        assert path == cache / "cutler_cascade_r1.pth"
        assert path.read_bytes() == b"weights"
    assert server.log == ["/cutler_cascade_r1.pth"]
    assert (cache / "cutler_cascade_r1.pth.sha256").is_file()


def test_addresses_with_one_file_name(server: FileServer, cache: Path) -> None:
    for folder in "ab":
        server.files[f"/{folder}/model.pth"] = folder.encode()
    one, two = (locate_weights(f"{server.address}/{folder}/model.pth") for folder in "ab")
    assert one.parent == two.parent == cache
    assert one.suffix == ".pth"
    assert (one.read_bytes(), two.read_bytes()) == (b"a", b"b")


def test_hub_repository_from_the_local_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def download(repository: str, name: str, **options: object) -> str:
        asked.append((repository, name, options))
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / name)
        return str(tmp_path / name)

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", download)
    assert locate_weights("owner/detector") == tmp_path / "model.safetensors"
    assert asked == [("owner/detector", "model.safetensors", {"revision": "main", "local_files_only": True})]


@pytest.mark.usefixtures("offline")
def test_no_connection_names_tried_sources(cache: Path) -> None:
    """The message says what to do."""
    pattern = re.escape(str(cache / "cutler_mrcnn_final.pth"))
    with pytest.raises(CheckpointError, match=pattern) as error:
        load_weights(torch.nn.Linear(1, 1), "cutler_mrcnn_final")
    assert f"{ROOT}cutler_mrcnn_final.pth: cannot be fetched" in str(error.value)
    assert "no route to host" in str(error.value)
    assert "give the path of your copy" in str(error.value)


@pytest.mark.usefixtures("offline")
def test_use_released_file_from_cache(cache: Path) -> None:
    model = build_detector("mask_rcnn_r50_fpn", backbone="resnet18", fpn_channels=8, box_head_dim=8)
    cache.mkdir()
    torch.save({"model": model.state_dict()}, cache / "cutler_mrcnn_final.pth")
    assert load_weights(model, "cutler_mrcnn_final").source == "cutler_mrcnn_final"


def test_plain_http_is_refused() -> None:
    with pytest.raises(CheckpointError, match="only https"):
        locate_weights("http://example.org/model.pth")


CONTENT = safetensors.torch.save({})
SIZE = len(CONTENT)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LOCATION = "https://cdn.example.org/x"


@pytest.mark.parametrize(
    ("etag", "location", "size", "sentence"),
    [
        (DIGEST, LOCATION, SIZE, None),
        ("0" * 40, LOCATION, SIZE, None),  # of git, which has no SHA-256
        ("0" * 64, LOCATION, SIZE, f"what came has the SHA-256 {DIGEST} instead of 0"),
        (DIGEST, "http://cdn.example.org/x", SIZE, "since http://cdn.example.org/x is no https address"),
        (DIGEST, LOCATION, 99, f"it has 99 bytes, over the limit of {SIZE}; .*CUTLER_PL_MAX_DOWNLOAD_BYTES=99"),
    ],
    ids=["fits", "git", "other content", "http", "too large"],
)
def test_hub_file_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, etag: str, location: str, size: int, sentence: str | None
) -> None:
    def download(*_: object, local_files_only: bool = False, **__: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("none")
        (tmp_path / "blob").write_bytes(CONTENT)
        (tmp_path / "model.safetensors").symlink_to(tmp_path / "blob")
        return str(tmp_path / "model.safetensors")

    announced = SimpleNamespace(etag=etag, location=location, size=size, commit_hash="0" * 40)
    library = hub.huggingface_hub
    monkeypatch.setattr(library, "hf_hub_download", download)
    monkeypatch.setattr(library, "get_hf_file_metadata", lambda *_, **__: announced)
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("CUTLER_PL_MAX_DOWNLOAD_BYTES", str(SIZE))
    if sentence is None:
        assert locate_weights("timm/a").read_bytes() == CONTENT
        return
    with pytest.raises(WeightsNotFoundError, match=sentence):
        locate_weights("timm/a")
    assert not [*tmp_path.iterdir()]
