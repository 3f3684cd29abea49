import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cutler_pl.errors import CutlerError, OptionalDependencyError
from cutler_pl.runtime.imports import cupy_or_none, require


class _CudaError(RuntimeError):
    pass


def _fake_cupy(count: int | Exception) -> ModuleType:
    def devices() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    module = ModuleType("cupy")
    module.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=devices, CUDARuntimeError=_CudaError))
    return module


def test_installed_package_is_returned() -> None:
    assert require("json", extra="x", purpose="y").loads("1") == 1


def test_missing_package_names_its_extra() -> None:
    """The error gives the pip command."""
    expected = (
        r"logger=wandb needs the package 'no_such_package', which is not installed: pip install 'cutler_pl\[tracking\]'"
    )
    with pytest.raises(OptionalDependencyError, match=expected) as caught:
        require("no_such_package", extra="tracking", purpose="logger=wandb")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, CutlerError)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_part", "No module named 'no_such_part'"),
        ("raise ImportError('libx.so: no such file')", r"libx\.so"),
    ],
)
def test_broken_package_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    (tmp_path / "broken_package.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionalDependencyError, match=rf"is installed but cannot be imported \({reason}"):
        require("broken_package", extra="x", purpose="y")


def test_other_errors_of_a_package_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_package.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        require("failing_package", extra="x", purpose="y")


def test_cupy_is_none_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cupy_or_none() is None


@pytest.mark.parametrize("count", [0, _CudaError("driver too old")])
def test_cupy_is_none_without_a_device(monkeypatch: pytest.MonkeyPatch, count: int | Exception) -> None:
    monkeypatch.setitem(sys.modules, "cupy", _fake_cupy(count))
    assert cupy_or_none() is None


def test_cupy_is_given_where_it_has_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = _fake_cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert cupy_or_none() is cupy
