"""Weights of frozen backbones: found, read safely, and fitted to the model key by key."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from cutler_pl.errors import CheckpointError
from cutler_pl.weights.files import check_numbers, read_state, unwrap
from cutler_pl.weights.sources import locate_weights

WeightSource = str | Path | Mapping[str, Tensor] | None

WAYS_OUT = (
    "run once with network access, give maskcut.features.weights=<file> (in Python: weights=) or an https address, "
    "or use maskcut=patch_descriptors, which needs no weights"
)


def find_weights(name: str, source: WeightSource, *, hub_id: str) -> dict[str, Tensor]:
    """State dict of a backbone, on the CPU, without the wrappers of training checkpoints and the projection head.

    Args:
        name: Name of the extractor, for messages.
        source: None for the hub; anything `locate_weights` takes; or the state dict itself.
        hub_id: Repository on the Hugging Face hub.

    Raises:
        CheckpointError: The weights cannot be had or cannot be read; the message names the ways out.
    """
    try:
        if isinstance(source, Mapping):
            state = unwrap(source, name="the given state dict")
        else:
            state = read_state(locate_weights(hub_id if source is None else source))
    except CheckpointError as error:
        raise type(error)(f"weights of {name}: {error}; {WAYS_OUT}") from error
    inner = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    return inner or state


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
        CheckpointError: Keys are missing, left over or of another shape; the message counts them and names some.
    """
    expected = model.state_dict()
    unexpected = sorted(k for k in state if k not in expected and not k.endswith(tuple(ignored)))
    missing = sorted(k for k in expected if k not in state)
    mismatched = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in sorted(expected)
        if k in state and state[k].shape != expected[k].shape
    ]
    errors = {"missing": missing, "not of this model": unexpected, "of another shape": mismatched}
    if any(errors.values()):
        lists = "; ".join(f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in errors.items() if keys)
        origin = "the given state dict" if isinstance(source, Mapping) else source or "the hub"
        raise CheckpointError(f"weights of {name}: {origin} does not hold this backbone ({lists}); give the right file")
    check_numbers({k: state[k] for k in expected}, name=f"weights of {name}")
    model.load_state_dict({k: state[k] for k in expected}, assign=True)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
