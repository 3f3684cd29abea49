import pickle
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from cutler_pl.errors import CheckpointError
from cutler_pl.runtime import download
from cutler_pl.weights import hub
from cutler_pl.weights.backbones import find_weights, load_exactly

HUB = "timm/some_backbone"


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_gives_its_state_dict(tmp_path: Path, suffix: str) -> None:
    state = model().state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
    assert_same(find_weights("tiny", path, hub_id=HUB), state)
    assert_same(find_weights("tiny", str(path), hub_id=HUB), state)


def test_load_teacher_without_head(tmp_path: Path) -> None:
    """The teacher comes out of a training checkpoint."""
    state = model().state_dict()
    teacher = {f"module.backbone.{key}": value for key, value in state.items()} | {"module.head.w": torch.ones(2)}
    student = {key: torch.zeros_like(value) for key, value in teacher.items()}
    path = tmp_path / "checkpoint.pth"
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, path)
    assert_same(find_weights("tiny", path, hub_id=HUB), state)


class Harmful:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm"),))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("evil.pth").open("wb") as file:
        pickle.dump({"a": Harmful()}, file, protocol=2)
    with pytest.raises(CheckpointError, match=r"evil\.pth: refused"):
        find_weights("tiny", "evil.pth", hub_id=HUB)
    assert not Path("harm").exists()


@pytest.mark.parametrize("name", ["torn.pth", "torn.safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match=rf"weights of tiny: .*{name}: not a checkpoint"):
        find_weights("tiny", tmp_path / name, hub_id=HUB)


def test_missing_file_names_alternatives(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no\.pth: no such file.*maskcut=patch_descriptors"):
        find_weights("tiny", tmp_path / "no.pth", hub_id=HUB)


def test_a_checkpoint_of_other_things_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no weights; expected tensors by name"):
        find_weights("tiny", tmp_path / "a.pth", hub_id=HUB)
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="holds no weights by name, but list"):
        find_weights("tiny", tmp_path / "b.pth", hub_id=HUB)


def test_an_address_that_is_not_https_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"http://host/a\.pth: not fetched, since only https"):
        find_weights("tiny", "http://host/a.pth", hub_id=HUB)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No network and empty caches; the addresses that were asked for."""
    asked: list[str] = []

    def no_network(request, **_: object) -> None:
        asked.append(getattr(request, "full_url", request))
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    def not_cached(repo: str, name: str, *, local_files_only: bool = False, **_: object) -> str:
        assert local_files_only, "a download was tried without a network"
        raise LocalEntryNotFoundError(f"{repo}/{name}")

    monkeypatch.setattr(download._opener, "open", no_network)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    monkeypatch.setattr(hub.huggingface_hub, "get_hf_file_metadata", no_network)
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", not_cached)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return asked


@pytest.mark.parametrize("source", [None, "https://host/path/backbone.pth"])
def test_ways_out_without_a_network(offline: list[str], source: str | None) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_weights("tiny", source, hub_id=HUB)
    message = str(caught.value)
    assert offline[0] in message
    for part in ("Name or service not known", "features.weights=<file>", "https address", "maskcut=patch_descriptors"):
        assert part in message
    assert "\n" not in message


def test_server_error_is_quoted(monkeypatch: pytest.MonkeyPatch, offline: list[str]) -> None:
    def answer(request, **_: object) -> None:
        raise urllib.error.HTTPError(request.full_url, 404, "Not Found", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(download._opener, "open", answer)
    with pytest.raises(CheckpointError, match="the server answers 404"):
        find_weights("tiny", "https://host/gone.pth", hub_id=HUB)


def test_cached_weights_need_no_network(offline: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = model().state_dict()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", lambda *_, **__: str(path))
    assert_same(find_weights("tiny", None, hub_id=HUB), state)
    assert offline == []


def test_every_key_that_does_not_fit_is_listed() -> None:
    state = model().state_dict()
    state["extra"] = torch.zeros(1)
    state["1.bias"] = torch.zeros(5)
    del state["0.weight"]
    with pytest.raises(CheckpointError) as caught:
        load_exactly(model(), state, name="tiny", source="file.pth")
    assert "file.pth does not hold this backbone" in str(caught.value)
    for part in ("missing: 0.weight", "not of this model: extra", "of another shape: 1.bias (5,) instead of (4,)"):
        assert part in str(caught.value)


def test_ignore_optional_keys_on_meta_model() -> None:
    """The rest is loaded into a model on the meta device."""
    state = model().state_dict()
    state["0.weight"] = torch.full((4, 3), 0.25)
    with torch.device("meta"):
        empty = model()
    load_exactly(empty, state | {"x.mask_token": torch.zeros(1)}, name="tiny", source=None, ignored=("mask_token",))
    assert_same(dict(empty.state_dict()), state)
