"""Weights of frozen backbones: found, read safely, and fitted to the model key by key.

A pretrained backbone comes from timm's page on the Hugging Face hub, from a file (the original DINO format or
safetensors) or from an https address. Pickles are read with `weights_only`, so that no code of theirs runs.
"""

import logging
import pickle
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import safetensors.torch
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError

WeightSource = str | Path | Mapping[str, Tensor] | None

_HUB_FILE = "model.safetensors"
_REACHABLE_SECONDS = 8
_WRAPPERS = ("teacher", "state_dict", "model")
_WAYS_OUT = (
    "run once with network access, give features.weights=<file> or an https address, "
    "or use maskcut=patch_descriptors, which needs no weights"
)


def find_weights(name: str, source: WeightSource, *, hub_id: str) -> dict[str, Tensor]:
    """State dict of a backbone, on the CPU, without the wrappers of training checkpoints.

    Args:
        name: Name of the extractor, for messages.
        source: None for the hub; a file; an https address; or the state dict itself.
        hub_id: Repository on the Hugging Face hub.

    Raises:
        CheckpointError: The weights cannot be had or cannot be read.
    """
    if isinstance(source, Mapping):
        return _unwrap(name, source)
    if source is None:
        return _unwrap(name, _from_hub(name, hub_id))
    text = str(source)
    if text.startswith("https://"):
        return _unwrap(name, _from_address(name, text))
    if "://" in text:
        raise CheckpointError(f"weights of {name}: {text} is not an https address; give https://… or a file")
    return _unwrap(name, _from_file(name, Path(source)))


def load_exactly(
    model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: WeightSource, ignored: Sequence[str] = ()
) -> None:
    """Put a state dict into a model when every key fits.

    Args:
        model: Gets the tensors of `state` themselves, so that it may have been made on the meta device.
        state: Weights under the model's own names.
        name: Name of the extractor, for messages.
        source: Where the weights came from, for messages.
        ignored: Endings of keys that may be left over.

    Raises:
        CheckpointError: Keys are missing, left over or of another shape; the message lists all of them.
    """
    wanted = model.state_dict()
    left_over = sorted(k for k in state if k not in wanted and not k.endswith(tuple(ignored)))
    missing = sorted(k for k in wanted if k not in state)
    misshapen = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in sorted(wanted)
        if k in state and state[k].shape != wanted[k].shape
    ]
    faults = {"missing": missing, "not of this model": left_over, "of another shape": misshapen}
    if any(faults.values()):
        lists = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in faults.items() if keys)
        where = "the given state dict" if isinstance(source, Mapping) else source or "the hub"
        raise CheckpointError(f"weights of {name}: {where} does not hold this backbone ({lists}); give the right file")
    model.load_state_dict({k: state[k] for k in wanted}, assign=True)


def _unwrap(name: str, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The backbone's own tensors out of a training checkpoint: the teacher, without its projection head."""
    for wrapper in _WRAPPERS:
        if isinstance(checkpoint.get(wrapper), Mapping):
            checkpoint = checkpoint[wrapper]
    state = {key.removeprefix("module."): value for key, value in checkpoint.items()}
    if any(key.startswith("backbone.") for key in state):
        state = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    strangers = sorted(key for key, value in state.items() if not isinstance(value, Tensor))
    if strangers or not state:
        raise CheckpointError(
            f"weights of {name}: expected a state dict of tensors, found {', '.join(strangers) or 'nothing'}; "
            "give the backbone's own checkpoint"
        )
    return state


def _from_file(name: str, path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"weights of {name}: {path} is not a file; {_WAYS_OUT}")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"weights of {name}: {path} cannot be read as a PyTorch checkpoint of tensors or as safetensors; "
            "download it again"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"weights of {name}: {path} holds a {type(content).__name__}, not a state dict")
    return content


def _from_address(name: str, address: str) -> Mapping[str, Any]:
    file_name = Path(urllib.parse.urlparse(address).path).name
    if not (Path(torch.hub.get_dir()) / "checkpoints" / file_name).is_file():
        _check_reachable(name, address)
    try:
        content = torch.hub.load_state_dict_from_url(address, map_location="cpu", progress=False, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"weights of {name}: {address} cannot be downloaded or read ({_first_line(error)}); {_WAYS_OUT}"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"weights of {name}: {address} holds a {type(content).__name__}, not a state dict")
    return content


def _from_hub(name: str, hub_id: str) -> Mapping[str, Any]:
    try:
        path = huggingface_hub.hf_hub_download(hub_id, _HUB_FILE, local_files_only=True)
    except LocalEntryNotFoundError:
        _check_reachable(name, huggingface_hub.hf_hub_url(hub_id, _HUB_FILE))
        try:
            path = huggingface_hub.hf_hub_download(hub_id, _HUB_FILE)
        except (OSError, HfHubHTTPError) as error:
            raise CheckpointError(
                f"weights of {name}: {hub_id} cannot be downloaded from the Hugging Face hub "
                f"({_first_line(error)}); {_WAYS_OUT}"
            ) from error
    return _from_file(name, Path(path))


def _check_reachable(name: str, address: str) -> None:
    """One short request before the real download, whose own retries would take minutes without a network."""
    if huggingface_hub.constants.HF_HUB_OFFLINE and not urllib.parse.urlparse(address).path.endswith((".pth", ".pt")):
        raise CheckpointError(f"weights of {name}: not in the local cache, and HF_HUB_OFFLINE is set; {_WAYS_OUT}")
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "cutler_pl"})
    try:
        with urllib.request.urlopen(request, timeout=_REACHABLE_SECONDS):
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):  # a login kept by huggingface_hub may open this door
            logging.getLogger(__name__).debug("%s answers %s without login", address, error.code)
            return
        reason = f"the server answers {error.code}"
    except OSError as error:
        reason = _first_line(getattr(error, "reason", None) or error)
    raise CheckpointError(f"weights of {name}: cannot be had from {address} ({reason}); {_WAYS_OUT}")


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
