"""The networks of a small detector in other runtimes: the detections of PyTorch, in any size and number."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from torch import nn

from cutler_pl.errors import CheckpointError, ConfigError, OptionalDependencyError, OutputWriteError
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.backends import BACKENDS, choose_backend, networks
from cutler_pl.models.backends.cache import cached_parts
from cutler_pl.models.backends.onnx_parts import DESCRIPTION
from cutler_pl.models.backends.parts import parts_of, require_weights, weights_digest
from cutler_pl.models.backends.winograd import WinogradBackend
from cutler_pl.ops.winograd import WinogradConv2d

CPU = torch.device("cpu")
SMALL = small_models.SMALL | {
    "max_detections": 10,
    "min_size_test": 64,
    "max_size_test": 128,
}


def small_detector(**options: Any) -> Detector:
    torch.manual_seed(0)
    return build_detector("mask_rcnn_r50_fpn", 2, **(SMALL | options)).eval()


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(64, 96), (70, 61), (200, 64)]
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache folder of the small detector, which all tests share."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        return cached_parts(small_detector())


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_same_detections(exported: Path, name: str) -> None:
    """One by one and in one batch, images of several sizes."""
    twin = small_detector()
    choose_backend(name).install(twin, exported=exported)
    assert not any(isinstance(module, nn.Conv2d | nn.Linear) for module in twin.modules())
    usual = small_detector()
    batches = [[images()[1]], images()]
    for batch in batches:
        for found, expected in zip(twin.predict(batch), usual.predict(batch), strict=True):
            assert len(found["boxes"]) == len(expected["boxes"]) > 0
            torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-5, rtol=0)
            torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-2, rtol=0)
            torch.testing.assert_close(found["mask_probabilities"], expected["mask_probabilities"], atol=1e-4, rtol=0)
            assert torch.equal(found["labels"], expected["labels"])


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_image_without_detections(exported: Path, name: str) -> None:
    twin = small_detector(score_threshold=1.0)
    choose_backend(name).install(twin, exported=exported)
    (found,) = twin.predict(images()[:1])
    assert found["boxes"].shape == (0, 4)
    assert found["mask_probabilities"].shape == (0, 28, 28)


def test_results_outlive_the_next_call(exported: Path) -> None:
    twin = small_detector()
    choose_backend("openvino").install(twin, exported=exported)
    first = twin.backbone(torch.zeros(1, 3, 64, 64))
    before = [level.clone() for level in first]
    twin.backbone(torch.ones(1, 3, 64, 64))
    assert all(torch.equal(*pair) for pair in zip(first, before, strict=True))


def test_bfloat16_only_where_it_is_computed() -> None:
    with pytest.raises(ConfigError, match="backend=onnx computes in 32 bits"):
        choose_backend("onnx", bfloat16=True)
    assert choose_backend("openvino", bfloat16=True) != choose_backend("openvino")


def test_exported_once(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(exported.parents[2]))
    monkeypatch.setattr("cutler_pl.models.backends.cache.export_parts", None)
    assert cached_parts(small_detector(max_detections=5)) == exported


def test_files_have_dynamic_axes(exported: Path) -> None:
    import onnx

    names = {part.name: part for part in parts_of(small_detector())}
    assert {path.stem for path in exported.glob("*.onnx")} == set(names)
    for name, part in names.items():
        model = onnx.load(exported / f"{name}.onnx")
        (given,) = model.graph.input
        dynamic = {i for i, axis in enumerate(given.type.tensor_type.shape.dim) if axis.dim_param}
        assert dynamic == set(part.dynamic)
        assert [output.name for output in model.graph.output] == list(part.outputs)


def test_digest_is_of_the_networks() -> None:
    digest = weights_digest(small_detector())
    assert digest == weights_digest(small_detector(score_threshold=0.5))
    other = small_detector()
    with torch.no_grad():
        other.rpn.head.conv.bias[0] += 1e-6
    assert digest != weights_digest(other)


def test_unknown_backend() -> None:
    with pytest.raises(ConfigError, match="'tensorrt' does not exist; choose one of torch, winograd, onnx, openvino"):
        choose_backend("tensorrt")


@pytest.mark.parametrize("name", ["winograd", "onnx", "openvino"])
def test_refuse_gpu(name: str) -> None:
    with pytest.raises(ConfigError, match=f"backend={name} runs on a CPU and the device is cuda:0"):
        choose_backend(name).check(torch.device("cuda:0"))


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_missing_package(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(OptionalDependencyError, match=rf"backend={name} needs .*'{package}'.*cutler_pl\[export\]"):
        choose_backend(name).check(CPU)


def test_networks_of_other_weights(exported: Path) -> None:
    other = small_detector()
    with torch.no_grad():
        other.rpn.head.conv.bias[0] += 1
    with pytest.raises(CheckpointError, match="was exported from other weights"):
        choose_backend("openvino").install(other, exported=exported)


def test_damaged_export(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"holds no exported networks \({DESCRIPTION} is missing"):
        choose_backend("onnx").install(small_detector(), exported=tmp_path)
    (tmp_path / DESCRIPTION).write_bytes((exported / DESCRIPTION).read_bytes())
    with pytest.raises(CheckpointError, match=r"backbone, rpn_head, .* is missing"):
        choose_backend("onnx").install(small_detector(), exported=tmp_path)


def test_onnxruntime_keeps_no_telemetry(tmp_path: Path) -> None:
    """It is off from the import on: onnxruntime would collect events in the user's cache folder and send them."""
    code = "from cutler_pl.models.backends import choose_backend; choose_backend('onnx').runtime.require()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=environment | {"XDG_CACHE_HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_damaged_network(exported: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    (tmp_path / "rpn_head.onnx").write_bytes((exported / "rpn_head.onnx").read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"rpn_head.onnx: cannot be loaded .* export the checkpoint again"):
        choose_backend(name).install(small_detector(), exported=tmp_path)


@pytest.mark.parametrize("name", ["torch", "winograd"])
def test_torch_reads_no_export(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"backend={name} reads no exported networks"):
        choose_backend(name).install(small_detector(), exported=tmp_path)


def test_weights_are_not_those_to_store() -> None:
    detector = small_detector(fpn_channels=64)
    require_weights(detector)
    WinogradBackend().install(detector)
    with pytest.raises(ConfigError, match="load it with backend=torch"):
        require_weights(detector)


@pytest.mark.parametrize("backbone", ["resnet18", "timm/test_resnet"])
def test_winograd_finds_the_same(backbone: str) -> None:
    """The weights of the detector stay as they are."""
    usual = small_detector(backbone=backbone, fpn_channels=64)
    for module in usual.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    twin = copy.deepcopy(usual)
    WinogradBackend().install(twin)
    assert sum(isinstance(module, WinogradConv2d) for module in twin.modules()) >= 5
    for found, expected in zip(twin.predict(images()), usual.predict(images()), strict=True):
        assert len(found["boxes"]) == len(expected["boxes"]) > 0
        torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-4, rtol=0)
        torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-2, rtol=0)


def test_cache_folder_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputWriteError, match=r"cannot be cached .* set XDG_CACHE_HOME"):
        cached_parts(small_detector())


def test_own_backend() -> None:
    """An object with the two methods is a backend."""

    class Doubled:
        def check(self, device: torch.device) -> None:
            assert device == CPU

        def install(self, detector: Detector, *, exported: object = None) -> None:
            detector.rpn.head = networks.RuntimeNetwork(lambda array: [array * 2], single=True)

    detector, backend = small_detector(), choose_backend(Doubled())
    backend.install(detector)
    np.testing.assert_array_equal(detector.rpn.head(torch.ones(2, 1)), np.full((2, 1), 2))
    assert list(BACKENDS) == ["torch", "winograd", "onnx", "openvino"]
