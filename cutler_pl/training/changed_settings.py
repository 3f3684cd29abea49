"""Settings that differ from those a checkpoint was trained with: they act from its step on, or are refused."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.module import RUN_SETTINGS_KEY
from cutler_pl.training.resume import ResumePoint
from cutler_pl.weights.files import MODEL_CONFIG_KEY

log = get_logger(__name__)

_REFUSED = {
    "model.init": "a resumed training has its weights from the checkpoint; leave resume out to start from others",
    "model.reset_head": "a resumed training has its weights from the checkpoint; leave resume out to start from others",
    "optimizer._target_": "another optimizer cannot go on with this one's momentum; start by model.init=<checkpoint>",
}


def check_changes(point: ResumePoint, settings: Mapping[str, Any]) -> None:
    """Name each setting that acts from now on; refuse those that cannot.

    Raises:
        ConfigError: A changed setting would have no effect or cannot work.
    """
    before = point.content.get(RUN_SETTINGS_KEY)
    if not before:
        log.info("%s names no settings of its training; those of now act from step %d", point.path, point.step)
        return
    for name in sorted(before.keys() | settings.keys()):
        was, now = before.get(name), settings.get(name)
        if was == now or (name in _REFUSED and "???" in (was, now)):
            continue
        if name in _REFUSED:
            raise ConfigError(f"{name}={now}, but {point.path} was started with {was}: {_REFUSED[name]}")
        log.info("changed on resume: %s %s → %s (acts from step %d)", name, _shown(was), _shown(now), point.step)


def check_model(point: ResumePoint, model: nn.Module, model_config: Mapping[str, Any]) -> None:
    """Raise unless the weights of a checkpoint fit a model and its classes.

    Raises:
        CheckpointError: They are those of another model or of other classes.
    """
    stored = point.content.get(MODEL_CONFIG_KEY) or {}
    for name in ("category_ids", "class_names"):
        was, now = stored.get(name), model_config.get(name)
        if was is not None and now is not None and list(was) != list(now):
            raise CheckpointError(
                f"resume: {point.path} was trained with {len(was)} classes ({name} {_few(was)}), the annotations "
                f"now have {len(now)} ({_few(now)}); take the same classes, or start anew by model.init=<checkpoint> "
                "model.reset_head=true"
            )
    weights = point.content.get("current_model_state", point.content["state_dict"])
    theirs = {key.removeprefix("model."): value.shape for key, value in weights.items() if isinstance(value, Tensor)}
    ours = {key: value.shape for key, value in model.state_dict().items()}
    if theirs == ours:
        return
    was, now = stored.get("detector") or {}, model_config.get("detector") or {}
    options = ", ".join(f"{name} {was.get(name)} → {now[name]}" for name in now if was.get(name) != now[name])
    different = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    raise CheckpointError(
        f"resume: {point.path} is of another model ({options or 'its options are not known'}; {len(different)} weights "
        f"differ, first {different[0]}); take the model it was trained with, or leave resume out"
    )


def _few(values: Any) -> str:
    shown = ", ".join(map(str, list(values)[:5]))
    return f"{shown}, …" if len(values) > 5 else shown


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
