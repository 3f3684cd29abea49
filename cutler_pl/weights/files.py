"""Read and write checkpoint files; the format is recognised by the first bytes, not by the name."""

import json
import pickle
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cutler_pl.errors import CheckpointError
from cutler_pl.runtime.files import atomic_write
from cutler_pl.weights.safe_pickle import load_pickle
from cutler_pl.weights.torch_files import ZIP_START, load_torch

_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save began with before version 1.6
_WRAPPERS = ("teacher", "model", "state_dict")  # DINO's, detectron2's, Lightning's
_PREFIXES = ("_orig_mod.", "module.", "model.")  # of torch.compile, DistributedDataParallel, our LightningModule
_READABLE = (".pth", ".pkl", ".safetensors", ".ckpt")
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNT = "num_batches_tracked"
WRITABLE = (".pth", ".pkl", ".safetensors")
MODEL_CONFIG_KEY = "model_config"
"""Where a checkpoint of this project says how its model is built."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint, under the names the file has; see `read_checkpoint` and `unwrap`."""
    return unwrap(read_checkpoint(path), name=str(path))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read everything a checkpoint holds, tensors on the CPU, without running anything in it.

    Args:
        path: A file of `torch.save` (.pth, .ckpt), a pickle of arrays (.pkl) or .safetensors.

    Returns:
        The content by name. Of a .safetensors file with a description: `state_dict` and `model_config`.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or holds nothing by name.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; give the path of a checkpoint, an https address or a released name"
        )
    with path.open("rb") as file:
        start = file.read(16)
    content: Any
    if not start:
        raise CheckpointError(f"{path}: is empty; fetch or write the file again")
    if start.startswith((ZIP_START, _OLD_TORCH)):
        content = load_torch(path)
    elif start[8:9] == b"{":
        content = _load_safetensors(path)
    elif start[:1] in (b"\x80", b"(", b"c", b"}"):
        content = load_pickle(path)
    else:
        raise CheckpointError(f"{path}: not a checkpoint; expected a file of one of the kinds {' '.join(_READABLE)}")
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds no weights by name, but {type(content).__name__}")
    return {key: value for key, value in content.items() if isinstance(key, str)}


def is_safetensors(path: str | Path) -> bool:
    """Whether a file begins as a safetensors file does."""
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def unwrap(content: Mapping[Any, Any], *, name: str) -> dict[str, Tensor]:
    """The bare state dict inside a checkpoint: out of its wrappers, without prefixes, arrays as tensors.

    Args:
        content: A state dict, bare, or under "teacher", "model" or "state_dict" beside other things.
        name: What to call it in messages.

    Raises:
        CheckpointError: There are no weights in it.
    """
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    state = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor | np.ndarray)
    }
    if not state:
        raise CheckpointError(f"{name}: holds no weights; expected tensors by name, bare or under 'model'")
    for prefix in _PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {key.replace("._orig_mod.", "."): value for key, value in state.items()}


def check_numbers(state: Mapping[str, Tensor], *, name: str) -> None:
    """Raise `CheckpointError` for weights that are no floating-point numbers, or not finite, and name the first."""
    for key, value in state.items():
        if value.dtype not in _WEIGHT_TYPES and not key.endswith(_COUNT):
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{name}: {key} is of type {kind}, and weights are floating-point numbers; convert the file first"
            )
        if not value.isfinite().all():
            bad = int((~value.isfinite()).sum())
            raise CheckpointError(
                f"{name}: {bad:,} of the {value.numel():,} numbers of {key} are NaN or infinite, so it would find "
                "nothing; take an earlier checkpoint or fetch the file again"
            )


def to_half(state: Mapping[str, Tensor], *, name: str) -> dict[str, Tensor]:
    """The weights as 16-bit numbers, counts as they are; raises `CheckpointError` for a number beyond their range."""
    halved = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    for key, value in halved.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{name}: {key} has numbers beyond ±65,504, too large for half=true; leave half out")
    return halved


def write_state(
    path: str | Path,
    state: Mapping[str, Tensor],
    *,
    model_config: Mapping[str, Any] | None = None,
    bare: bool = False,
) -> None:
    """Write weights in the form that the file's ending says; the file is complete or not there.

    Args:
        path: `.pth` is detectron2's form of `torch.save`, `.pkl` its pickle of arrays, `.safetensors` bare weights.
        state: The weights.
        model_config: JSON values that say how the model is built, stored beside the weights.
        bare: Write a `.pth` file as the state dict alone, as torchvision does.

    Raises:
        CheckpointError: The ending is none of these.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if path.suffix not in WRITABLE:
        raise CheckpointError(f"{path}: cannot tell what to write from {path.suffix!r}; end it in {' '.join(WRITABLE)}")
    extra = {} if model_config is None else {MODEL_CONFIG_KEY: dict(model_config)}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            texts = {key: json.dumps(value) for key, value in extra.items()}
            content = safetensors.torch.save(state, metadata=texts or None)
        elif path.suffix == ".pkl":
            arrays = {key: value.numpy() for key, value in state.items()}
            # detectron2 takes a pickle with an author for one of its own, and not for Caffe2's.
            content = pickle.dumps({"model": arrays, "__author__": "cutler_pl", **extra}, protocol=4)
        else:
            buffer = BytesIO()
            torch.save(state if bare else {"model": state, **extra}, buffer)
            content = buffer.getvalue()
        temporary.write_bytes(content)  # of a full disk the libraries' own writers have other errors


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        state = safetensors.torch.load_file(path)
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get(MODEL_CONFIG_KEY)
        return state if described is None else {"state_dict": state, MODEL_CONFIG_KEY: json.loads(described)}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not readable as safetensors ({error}); fetch or write the file again"
        ) from error
