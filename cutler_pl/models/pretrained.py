"""`config.json` beside `model.safetensors`: what the hub and people read of a detector, and what it is built by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cutler_pl.coco.json_text import decode_json, json_error, shown
from cutler_pl.errors import CheckpointError
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.version import VERSION
from cutler_pl.weights.files import write_state
from cutler_pl.weights.hub import CONFIG_FILE, MAX_CONFIG_BYTES, WEIGHTS_FILE

MODEL_TYPE = "cutler"


def write_pretrained(folder: Path, model: nn.Module, described: Mapping[str, Any]) -> None:
    """Write both files.

    Args:
        folder: Made if need be.
        described: As `detector_config` gives it; stored in the weights' file, too, so that it can be used alone.
    """
    write_state(folder / WEIGHTS_FILE, model.state_dict(), model_config=described)
    versions = {"cutler_pl": VERSION, "torch": torch.__version__}
    content = {"model_type": MODEL_TYPE, "architectures": ["CutLER"], **described, "versions": versions}
    write_json(folder / CONFIG_FILE, content, indent=2)


def read_config(path: Path, *, name: str) -> dict[str, Any]:
    """The description in a `config.json`; `described_options` checks its values.

    Args:
        name: What to call it in messages.

    Raises:
        CheckpointError: It is too large, no JSON, or describes no detector of this package.
    """
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise CheckpointError(
            f"{name}: its {CONFIG_FILE} has {size:,} bytes, and a description has at most {MAX_CONFIG_BYTES:,}; "
            "write the files again"
        )
    try:
        content = decode_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: its {CONFIG_FILE} is not readable ({json_error(error)})") from error
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(content, dict) or kind != MODEL_TYPE or "detector" not in content:
        found = shown(kind) if isinstance(kind, str | int | float | bool | None) else type(kind).__name__
        raise CheckpointError(
            f"{name}: its {CONFIG_FILE} describes no detector of this package, model_type is {found} instead of "
            f"{shown(MODEL_TYPE)}; choose a repository or folder that save_pretrained or push_to_hub wrote"
        )
    return content
