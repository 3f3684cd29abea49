"""Published detectors: what is pushed comes back the same, and what strangers publish is one sentence."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hub_server import TOKEN, HubServer, Repository, serving_hub
from huggingface_hub import constants

from cutler_pl import CutLER
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError, UploadError, WeightsNotFoundError

# huggingface_hub's upload without Xet: https://www.python-httpx.org/compatibility/#request-content
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving_hub() as server:
        point_to(server.address, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def model(small_checkpoint: Path) -> CutLER:
    return CutLER.from_pretrained(small_checkpoint, device="cpu", score_threshold=0.01, max_detections=5)


@pytest.fixture(scope="module")
def published(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a good repository."""
    folder = CutLER.from_pretrained(small_checkpoint, device="cpu").save_pretrained(tmp_path_factory.mktemp("saved"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(first: CutLER, second: CutLER, pixels: np.ndarray) -> bool:
    (one,), (other,) = first.predict([pixels]), second.predict([pixels])
    return torch.equal(one.boxes, other.boxes) and torch.equal(one.masks, other.masks) and one.names == other.names


def test_pushed_detector_comes_back(hub: HubServer, model: CutLER, pixels: np.ndarray) -> None:
    """A private repository is made; weights, options of inference, class names and category ids are the same."""
    address = model.push_to_hub("me/cats", private=True, license="apache-2.0")
    assert address.startswith(f"{hub.address}/me/cats/commit/")
    assert hub.repositories["me/cats"].private
    files = hub.repositories["me/cats"].revisions["main"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    back = CutLER.from_pretrained("me/cats", device="cpu")
    assert same(model, back, pixels)
    assert back.category_ids == {1: 4, 2: 9}
    assert (back.detector.config.max_detections, back.detector.config.score_threshold) == (5, 0.01)
    config = json.loads(files["config.json"])
    assert config["class_names"] == ["cat", "dog"]
    assert set(config["versions"]) == {"cutler_pl", "torch"}
    assert b"license: apache-2.0" in files["README.md"]
    assert b'CutLER.from_pretrained("me/cats")' in files["README.md"]


def test_branches_and_commits_are_revisions(hub: HubServer, model: CutLER, small_checkpoint: Path) -> None:
    first = model.push_to_hub("me/cats").rpartition("/")[2]
    model.detector.config = CutLER.from_pretrained(small_checkpoint, device="cpu", max_detections=3).detector.config
    model.push_to_hub("me/cats", revision="few", commit_message="Fewer")
    assert hub.repositories["me/cats"].messages[-1] == "Fewer"
    for revision, most in (("few", 3), (first, 5), (None, 5)):
        loaded = CutLER.from_pretrained("me/cats", device="cpu", revision=revision)
        assert loaded.detector.config.max_detections == most
    assert CutLER.from_pretrained("me/cats@few", device="cpu").detector.config.max_detections == 3
    with pytest.raises(WeightsNotFoundError, match="has no revision other"):
        CutLER.from_pretrained("me/cats", revision="other")


def test_moved_branch_is_fetched_anew(
    hub: HubServer,
    model: CutLER,
    small_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a connection the files that were fetched last are taken, with a warning."""
    model.push_to_hub("me/cats")
    CutLER.from_pretrained("me/cats", device="cpu")
    model.detector.config = CutLER.from_pretrained(small_checkpoint, device="cpu", max_detections=3).detector.config
    model.push_to_hub("me/cats")
    assert CutLER.from_pretrained("me/cats", device="cpu").detector.config.max_detections == 3
    point_to("http://127.0.0.1:9", monkeypatch)
    assert CutLER.from_pretrained("me/cats", device="cpu").detector.config.max_detections == 3
    assert "does not answer, so the file of the local cache is taken" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert CutLER.from_pretrained("me/cats", device="cpu").detector.config.max_detections == 3
    with pytest.raises(WeightsNotFoundError, match="not in the local cache, and HF_HUB_OFFLINE is set"):
        CutLER.from_pretrained("me/dogs")


def test_folder_of_saved_files_is_a_source(model: CutLER, pixels: np.ndarray, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "saved")
    assert same(model, CutLER.from_pretrained(folder, device="cpu"), pixels)
    assert same(model, CutLER.from_pretrained(folder / "model.safetensors", device="cpu"), pixels)
    with pytest.raises(WeightsNotFoundError, match=r"holds neither model\.safetensors nor"):
        CutLER.from_pretrained(tmp_path)


def test_edited_card_is_kept(hub: HubServer, model: CutLER, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "saved")
    card = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(f"{card}\nMy own words.\n", encoding="utf-8")
    CutLER.from_pretrained(folder, device="cpu").push_to_hub("me/cats")
    pushed = hub.repositories["me/cats"].revisions["main"]["README.md"].decode()
    assert "My own words." in pushed
    assert "YOUR_ACCOUNT/saved" not in pushed
    assert "me/cats" in pushed


def refused(source: str, kind: type[CutlerError] = CheckpointError, **options: Any) -> str:
    with pytest.raises(kind) as error:
        CutLER.from_pretrained(source, device="cpu", **options)
    return str(error.value)


BOMB = pickle.dumps({"model": {"w": np.zeros(3)}})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model.safetensors": BOMB}, "its model.safetensors is no safetensors file, and nothing else is read"),
        ({"model.safetensors": None, "pytorch_model.bin": BOMB}, "holds no model.safetensors; other formats are not"),
        ({"model.safetensors": b"\xff" * 7 + b"\x00{}"}, "not readable as safetensors"),
        ({"config.json": b"{"}, "its config.json is not readable"),
        ({"config.json": b"[" * 100_000}, "its config.json is not readable"),
        ({"config.json": b'{"model_type": "bert"}'}, "model_type is 'bert' instead of 'cutler'"),
        ({"config.json": b"[]"}, "describes no detector of this package, model_type is None"),
        ({"config.json": b" " * (17 << 20)}, "17,825,792 bytes, and such a file has at most 16,777,216"),
        ({"detector": {"backbone": "../../x"}}, "describes a model that cannot be"),
        ({"detector": {"backbone": "timm/hf-hub:me/x"}}, "describes a model that cannot be"),
        ({"detector": {"code": "import os"}}, "describes a model that cannot be"),
        ({"detector": {"fpn_channels": 32}}, "of another shape"),
        ({"detector": {"box_head_dim": 10**9}}, "box_head_dim, should be a number from 0"),
        ({"class_names": ["cat"]}, "class_names, should be 2 texts"),
    ],
)  # fmt: skip
def test_hostile_repository_is_refused(
    hub: HubServer, published: dict[str, bytes], change: dict[str, Any], sentence: str
) -> None:
    files = dict(published)
    for name, value in change.items():
        if value is None:
            del files[name]
        elif isinstance(value, bytes):
            files[name] = value
        else:
            config = json.loads(files["config.json"])
            config[name] = {**config[name], **value} if isinstance(value, dict) else value
            files["config.json"] = json.dumps(config).encode()
    hub.repositories["evil/one"] = repository = Repository()
    repository.put("main", files)
    assert sentence in refused("evil/one")
    assert not [line for line in hub.log if "pytorch_model" in line]


def test_wrong_sizes_of_tensors(hub: HubServer, published: dict[str, bytes]) -> None:
    state = safetensors.torch.load(published["model.safetensors"])
    state["rpn.head.bbox_pred.bias"] = torch.zeros(3)
    hub.repositories["evil/one"] = repository = Repository()
    repository.put("main", {**published, "model.safetensors": safetensors.torch.save(state)})
    assert "rpn.head.bbox_pred.bias" in refused("evil/one")


@pytest.mark.parametrize("header", ["ETag", "X-Repo-Commit"])
def test_server_cannot_choose_file_names(
    hub: HubServer, published: dict[str, bytes], header: str, tmp_path: Path
) -> None:
    hub.repositories["evil/one"] = repository = Repository()
    repository.put("main", published)
    hub.headers = {header: "../../../../outside"}
    assert "since the server calls it '../../../../outside'" in refused("evil/one")
    assert not list(tmp_path.rglob("*outside*"))


@pytest.mark.parametrize("name", ["../one", "one/..", "a/b/c", "me/cats@../main", "me/cats@", "me/c ats", "/me/cats"])
def test_names_that_lead_elsewhere(hub: HubServer, model: CutLER, name: str) -> None:
    refused(name, CutlerError)
    with pytest.raises(ConfigError, match="is no repository of the Hugging Face hub; give owner/name"):
        model.push_to_hub(name)
    assert not hub.log


def test_refused_by_the_hub(hub: HubServer, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing repository, a private and a gated one without a token, and a server with a fault."""
    assert "there is no such repository, or it is private" in refused("me/none")
    hub.repositories["me/private"] = Repository(private=True)
    hub.repositories["me/gated"] = Repository(gated=True)
    monkeypatch.delenv("HF_TOKEN")
    assert "if it is private, log in by `hf auth login` or set HF_TOKEN" in refused("me/private")
    assert "access is granted by its owner" in refused("me/gated")
    hub.status = 500
    assert "the hub answers 500" in refused("me/private")
    with pytest.raises(ConfigError, match="is no repository"):
        CutLER.from_pretrained("tiny_generated", revision="main")


def test_nothing_answers(hub: HubServer, model: CutLER, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    assert "cannot be fetched from the Hugging Face hub" in refused("me/cats")
    with pytest.raises(UploadError, match="cannot be published on the Hugging Face hub"):
        model.push_to_hub("me/cats")
    point_to("http://example.org", monkeypatch)
    assert "is no https address; unset HF_ENDPOINT" in refused("me/cats")
    with pytest.raises(UploadError, match="is no https address; unset HF_ENDPOINT"):
        model.push_to_hub("me/cats")


@pytest.mark.parametrize("problem", ["no token", "wrong token", "no right", "fault", "offline"])
def test_push_is_refused(hub: HubServer, model: CutLER, monkeypatch: pytest.MonkeyPatch, problem: str) -> None:
    prepare: dict[str, Callable[[], object]] = {
        "no token": lambda: monkeypatch.delenv("HF_TOKEN"),
        "wrong token": lambda: monkeypatch.setenv("HF_TOKEN", "hf_wrong"),
        "no right": lambda: setattr(hub, "writable", False),
        "fault": lambda: setattr(hub, "status", 500),
        "offline": lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True),
    }
    sentences = {
        "no token": "log in by `hf auth login` or set HF_TOKEN",
        "wrong token": "log in by `hf auth login` or set HF_TOKEN",
        "no right": "your token may not do this",
        "fault": "the hub answers 500",
        "offline": "while HF_HUB_OFFLINE is set",
    }
    prepare[problem]()
    with pytest.raises(UploadError, match=sentences[problem]) as error:
        model.push_to_hub("me/cats")
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)
    assert not hub.repositories
