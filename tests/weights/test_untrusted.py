"""Checkpoints of strangers: refused in one sentence, in bounded memory."""

import io
import pickle
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutler_pl.errors import CheckpointError
from cutler_pl.weights.files import check_numbers, read_checkpoint, read_state


def saved(value: Any, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


STATE = {"model": {"weight": torch.arange(64.0).reshape(8, 8), "bias": torch.zeros(3, dtype=torch.float16)}}
FILES = {"zip": saved(STATE), "old": saved(STATE, zipped=False), "pickle": pickle.dumps({"a": np.arange(9.0)})}


def sentence(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    text = str(error.value)
    assert str(path) in text
    assert "weights_only" not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."])
def test_memo_position_takes_no_memory(tmp_path: Path, start: bytes) -> None:
    """LONG_BINPUT of position 2^28 would make a table of 4.8 GB."""
    assert "memo position 268435456" in sentence(start + b"}r\x00\x00\x00\x10.", tmp_path / "a.pkl")


@pytest.mark.parametrize("instruction", [b"\x8d", b"\x8e", b"\x96"], ids=["text", "bytes", "bytearray"])
def test_length_takes_no_memory(tmp_path: Path, instruction: bytes) -> None:
    content = b"\x80\x05" + instruction + (1 << 40).to_bytes(8, "little") + b"abc."
    assert "not readable" in sentence(content, tmp_path / "a.pkl")


def test_shared_lists_do_not_unfold(tmp_path: Path) -> None:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    text = sentence(pickle.dumps({"a": value}), tmp_path / "a.pkl")
    assert "refused, since it unfolds to more than 4 times its size; if you trust it, raise the limit" in text


def test_damage_in_the_middle_is_found(tmp_path: Path) -> None:
    content = bytearray(saved({"model": {"weight": torch.ones(100_000)}}))
    content[200_000:201_000] = bytes(1000)
    assert "Bad CRC-32" in sentence(bytes(content), tmp_path / "a.pth")


def test_tensor_beyond_its_storage(tmp_path: Path) -> None:
    """`torch.load` believes the number of elements and reads what lies behind them in memory."""
    with zipfile.ZipFile(io.BytesIO(FILES["zip"])) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as target:
        for part, content in parts.items():
            target.writestr(part, content.replace(b"K@t", b"M\x00@t") if part == name else content)
    assert "in the file" in sentence(changed.getvalue(), tmp_path / "a.pth")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_refuse_compressed_parts(tmp_path: Path, method: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as target:
        target.writestr("a/data.pkl", bytes(10_000_000))
    assert "compressed or encrypted" in sentence(stream.getvalue(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    "value", [{"state_dict": [1, 2]}, {1: torch.zeros(2)}, {"model": {1: torch.zeros(2)}}, {"model": {}}, {}]
)
def test_no_weights_by_name(tmp_path: Path, value: Any) -> None:
    (tmp_path / "a.ckpt").write_bytes(saved(value))
    with pytest.raises(CheckpointError, match="holds no weights; expected tensors by name"):
        read_state(tmp_path / "a.ckpt")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.uint8, torch.bool, torch.int64])
def test_refuse_weights_of_other_types(dtype: torch.dtype) -> None:
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(CheckpointError, match=f"a: w is of type {kind}"):
        check_numbers({"w": torch.zeros(2, dtype=dtype)}, name="a")
    check_numbers({"bn.num_batches_tracked": torch.tensor(3)}, name="a")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_refuse_weights_that_are_not_finite(number: float) -> None:
    with pytest.raises(CheckpointError, match=re.escape("a: 1 of the 3 numbers of w are NaN or infinite")):
        check_numbers({"w": torch.tensor([1.0, number, 0.0])}, name="a")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.99])
def test_cut_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    sentence(FILES[kind][: int(share * len(FILES[kind]))], tmp_path / "a.pth")


def test_every_torch_format_is_read_equally(tmp_path: Path) -> None:
    shared = torch.arange(12.0)
    value = {
        "a": shared[2:8].view(2, 3),
        "b": shared.view(3, 4).T,
        "p": torch.nn.Parameter(shared),
        "e": torch.empty(0, 3),
    }
    value |= {str(dtype): torch.ones(2, dtype=dtype) for dtype in (torch.bfloat16, torch.complex64, torch.bool)}
    for zipped in (True, False):
        (tmp_path / "a.pth").write_bytes(saved(value, zipped=zipped))
        found = read_checkpoint(tmp_path / "a.pth")
        assert found.keys() == value.keys()
        assert all(torch.equal(found[key], value[key]) and found[key].dtype == value[key].dtype for key in value)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Files with bytes changed, cut out or put in, and free bytes after an honest start."""
    content = bytearray(draw(st.sampled_from(list(FILES.values()))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1))
        content[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    free = draw(st.binary(max_size=40))
    header = len(free).to_bytes(8, "little") + b"{" + free
    return draw(st.sampled_from([bytes(content), b"\x80\x04" + free, b"PK\x03\x04" + free, header]))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(damaged())
def test_damaged_files_end_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with suppress(CheckpointError):
        read_state(path)


def test_safetensors_header_in_a_subprocess(tmp_path: Path) -> None:
    """Native code reads these files, so a crash must not end the tests."""
    headers = [b"{" * 5000, b'{"a":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,4]}}',
               b'{"__metadata__":{"model_config":"' + b"[" * 50_000 + b'"}}', b'{"a":{"dtype":"X"}}']  # fmt: skip
    paths = [tmp_path / f"{i}.safetensors" for i in range(len(headers))]
    for path, header in zip(paths, headers, strict=True):
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    code = "import sys\nfrom cutler_pl.weights.files import read_state\nfrom cutler_pl.errors import CheckpointError\n"
    code += (
        "for path in sys.argv[1:]:\n    try:\n        read_state(path)\n    except CheckpointError:\n        print(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["1"] * len(paths)), done.stderr


@pytest.mark.slow
def test_fuzz_readers_of_checkpoints(tmp_path: Path) -> None:
    """`python tests/fuzz.py --minutes 5 checkpoints` runs longer."""
    fuzz = Path(__file__).resolve().parents[1] / "fuzz.py"
    words = [sys.executable, str(fuzz), "--examples", "30", "--folder", str(tmp_path), "checkpoints"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seed 0: 30 cases per reader")
