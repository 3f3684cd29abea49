"""Whether a checkpoint can be resumed from, before the trainer reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.weights.files import check_numbers, read_checkpoint

_PARTS = {"state_dict": Mapping, "optimizer_states": list, "lr_schedulers": list, "loops": Mapping}


def check_resume(path: Any) -> dict[str, Any]:
    """What a file of the setting `resume` holds: an interrupted training, whole and with finite weights.

    Raises:
        ConfigError: The setting is no path.
        CheckpointError: The file is missing, damaged, or holds something else.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise ConfigError(f"resume={path!r} is no path; give the .ckpt of an interrupted run, or leave resume out")
    try:
        content = read_checkpoint(path)
    except CheckpointError as error:
        raise type(error)(f"resume: {error}") from error
    wrong = [name for name, kind in _PARTS.items() if not isinstance(content.get(name), kind)]
    if wrong or not isinstance(content.get("global_step"), int):
        raise CheckpointError(
            f"resume: {path} is no checkpoint of an interrupted training, {', '.join(wrong or ['global_step'])} is "
            "missing or of another kind; give weights alone as model.init=<file>"
        )
    state = {str(key): value for key, value in content["state_dict"].items() if isinstance(value, Tensor)}
    check_numbers(state, name=f"resume: {path}")
    return content
