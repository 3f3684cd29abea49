import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.weights.safe_pickle import load_pickle
from cutler_pl.weights.torch_files import load_torch


class Runs:
    """Calls a function with arguments when unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> Any:
        return self.reduced


def write(path: Path, value: Any, *, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "big endian": np.arange(3, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "permuted": np.arange(24, dtype=np.int64).reshape(2, 3, 4).transpose(2, 0, 1),
    "scalar array": np.array(3, dtype=np.int64),
    "empty": np.zeros((0, 4), dtype=np.float16),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_in_containers_come_back_equal(tmp_path: Path, protocol: int) -> None:
    value = {"model": OrderedDict(ARRAYS), "__author__": "x", "list": [np.float32(0.5), (1, None)]}
    loaded = load_pickle(write(tmp_path / "a.pkl", value, protocol=protocol))
    assert loaded["__author__"] == "x"
    assert loaded["list"] == [0.5, (1, None)]
    for name, array in ARRAYS.items():
        found = loaded["model"][name]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.flags.writeable


def test_array_written_by_python_2_is_read(tmp_path: Path) -> None:
    # numpy.arange(2, dtype="<f4") in protocol 2, where bytes are strings.
    (tmp_path / "old.pkl").write_bytes(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x00\x00\x00\x00\x80?tb."
    )
    assert load_pickle(tmp_path / "old.pkl").tolist() == [0, 1]


@pytest.mark.parametrize(
    "build",
    [
        lambda mark: Runs(os.system, f"touch {mark}"),
        lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: Runs(Path.touch, mark),
        lambda mark: Runs(getattr, "", "join"),
        lambda mark: Runs(np.load, str(mark)),
        lambda mark: {"model": {"weight": np.zeros(1)}, "hook": [Runs(os.system, f"touch {mark}")]},
    ],
    ids=["shell", "eval", "path", "getattr", "numpy function", "beside good weights"],
)
@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_refuse_files_that_call_functions(tmp_path: Path, build: Any, container: str) -> None:
    """Nothing runs."""
    mark, path = tmp_path / "ran", tmp_path / "evil.pkl"
    if container == "pickle":
        write(path, build(mark))
        with pytest.raises(CheckpointError, match=r"evil\.pkl: refused, since reading it would run"):
            load_pickle(path)
    else:
        torch.save(build(mark), path)
        with pytest.raises(CheckpointError, match=r"evil\.pkl: refused, since reading it would run"):
            load_torch(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["text"]), np.zeros(2, dtype=[("a", "f4")]), np.array(["2020"], dtype="M8[Y]")],
    ids=["objects", "text", "records", "dates"],
)
def test_arrays_of_other_things_than_numbers_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError):
        load_pickle(write(tmp_path / "a.pkl", {"model": value}))


def test_stand_ins_cannot_be_changed_by_a_file(tmp_path: Path) -> None:
    # GLOBAL _codecs.encode, then BUILD with a state that sets attributes on it.
    (tmp_path / "a.pkl").write_bytes(b"c_codecs\nencode\n(N}X\x08\x00\x00\x00__name__X\x01\x00\x00\x00xsdtb.")
    with pytest.raises(CheckpointError):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"no pickle at all", b"\x80\x04K\x01"], ids=repr)
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pkl").write_bytes(content)
    for load in (load_pickle, load_torch):
        with pytest.raises(CheckpointError, match=r"bad\.pkl: not readable"):
            load(tmp_path / "bad.pkl")


def test_refuse_array_of_wrong_shape(tmp_path: Path) -> None:
    good = pickle.dumps(np.zeros(2, dtype=np.float32), protocol=2)
    (tmp_path / "a.pkl").write_bytes(good.replace(b"K\x02\x85", b"K\x09\x85"))
    with pytest.raises(CheckpointError, match="not readable"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("zipped", [True, False])
def test_read_numpy_scalars_and_settings(tmp_path: Path, zipped: bool) -> None:
    saved = {
        "model": {"weight": torch.arange(3)},
        "iteration": np.int64(7),
        "args": argparse.Namespace(lr=0.1),
        "array": np.arange(2.0),
    }
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_torch(tmp_path / "a.pth")
    assert torch.equal(loaded["model"]["weight"], torch.arange(3))
    assert loaded["iteration"] == 7
    assert loaded["args"] is None
    assert loaded["array"].tolist() == [0, 1]
