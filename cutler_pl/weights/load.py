"""Load detector checkpoints of every format, and export them under detectron2's names.

Each format is a mapping of its names to ours; the one that matches most names is taken. Every weight that does not fit
is listed: a checkpoint that fits partly or not at all is an error, never a model with random layers (the original loads
such files without a word).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError
from cutler_pl.weights import detectron2_keys
from cutler_pl.weights.files import check_numbers, read_state, unwrap
from cutler_pl.weights.sources import locate_weights

_BODY = "backbone.body."
_DETECTOR, _BACKBONE = "detector", "backbone"
_BODY_PREFIXES = ("", "encoder_q.", "backbone.")  # of the backbone in its own file, in MoCo's, in some others'
# What a classification network has after its last feature map.
_CLASSIFIERS = ("fc.", "head.", "classifier.", "norm.", "fc_norm.", "conv_head.", "bn2.", "norm_head.", "final_conv.")
_HEAD_LAYER = re.compile(r"roi_heads\.(stages\.\d+\.predictor\.(cls_score|bbox_pred)|mask_head\.predictor)\..*")
_BATCH_COUNT = "num_batches_tracked"  # absent in old checkpoints, and of no use here


class Mismatch(NamedTuple):
    """A weight whose shape is not that of the model."""

    key: str
    model_shape: tuple[int, ...]
    source_shape: tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did; weights go by the model's names, unexpected ones by the source's.

    Attributes:
        source: What was loaded.
        kind: "detector", or "backbone" for sources without the rest.
        loaded: Weights that were set.
        newly_initialized: Weights that keep the values the model was built with, as they should: the rest of the
            detector after a backbone, or head layers of another number of classes.
        missing: Weights of the model that the source should have and has not.
        unexpected: Weights of the source that the model has no place for.
        mismatched: Weights of another shape.
        source_names: The source's name of each weight of the model.
    """

    source: str
    kind: str
    loaded: tuple[str, ...] = ()
    newly_initialized: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    source_names: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def fits(self) -> bool:
        """Whether everything that should fit did."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        text = f"{len(self.loaded)} weights loaded from a {self.kind}"
        if self.newly_initialized:
            layers = sorted({key.rpartition(".")[0] for key in self.newly_initialized})
            where = ", ".join(layers) if self.kind == _DETECTOR else "all outside the backbone's body"
            text += f", {len(self.newly_initialized)} newly initialized ({where})"
        return text if self.fits else f"{text}; {self.complaint()}"

    def complaint(self) -> str:
        """What does not fit, every name of it; nothing if all fits."""
        shapes = [
            f"{self._both_names(key)} {list(found)} instead of {list(expected)}"
            for key, expected, found in self.mismatched
        ]
        groups = {
            "of another shape": shapes,
            "missing in the source": [self._both_names(key) for key in self.missing],
            "without a place in the model": list(self.unexpected),
        }
        return "\n".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in groups.items() if names)

    def _both_names(self, key: str) -> str:
        name = self.source_names.get(key, key)
        return key if name == key else f"{key} ({name})"


class _Reading(NamedTuple):
    """The names of a source as one format understands them."""

    kind: str
    ours: dict[str, str | None]
    """Our name of each of the source's; None where there is nothing to load, the name itself where it is unknown."""
    theirs: Callable[[str], str]
    """The source's name of one of ours."""


def load_weights(
    model: nn.Module, source: str | Path | Mapping[str, Any], *, strict: bool = True, reset_head: bool = False
) -> LoadReport:
    """Load weights into a detector; after an error the model is as it was.

    Args:
        model: As `build_detector` makes it.
        source: A file, an https address, the name of a released file, or a state dict, bare or under "model". Read are
            detectron2's .pth and .pkl, our .ckpt and .safetensors, and backbones: DINO's and MoCo's ResNet-50,
            torchvision's and timm's networks. A backbone sets `backbone.body` only; the rest stays as it was built.
        strict: Raise unless everything fits; otherwise load what fits and report the rest.
        reset_head: Let the last layers of the heads keep the values they were built with where the source is for
            another number of classes.

    Returns:
        What was loaded and what was not.

    Raises:
        CheckpointError: The source cannot be had or read, or `strict` and something does not fit: the message names
            every weight that does not.
    """
    name, state = _read(source)
    return load_state(model, state, name=name, strict=strict, reset_head=reset_head)


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], *, name: str, strict: bool = True, reset_head: bool = False
) -> LoadReport:
    """As `load_weights`, from a bare state dict that messages call `name`."""
    own = model.state_dict()
    report = _compare(name, state, own)
    if reset_head:
        report = _without_heads_of_other_classes(report)
    if strict:
        _require_fit(report)
    check_numbers({report.source_names[key]: state[report.source_names[key]] for key in report.loaded}, name=name)
    with torch.no_grad():
        for key in report.loaded:
            own[key].copy_(state[report.source_names[key]])
    return report


def check_fit(model: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Raise `CheckpointError` unless `load_state` would find a place for each weight; `model` may be on meta."""
    _require_fit(_compare(name, state, model.state_dict()))


def to_detectron2(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a detector under detectron2's names, on the CPU; `{"model": …}` of them is what it loads.

    Raises:
        CheckpointError: The detector has parts that detectron2 has not, such as a timm backbone.
    """
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    return detectron2_keys.to_detectron2(state)


def _read(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    if isinstance(source, Mapping):
        return "the given state dict", unwrap(source, name="the given state dict")
    return str(source), read_state(locate_weights(source))


def _compare(name: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> LoadReport:
    reading = max(_readings(state, own), key=lambda r: sum(ours in own for ours in r.ours.values()))
    found = {ours: theirs for theirs, ours in reading.ours.items() if ours is not None}
    loaded, new, missing, mismatched = [], [], [], []
    for key, value in own.items():
        if key not in found:
            if reading.kind == _BACKBONE and not key.startswith(_BODY):
                new.append(key)
            elif not key.endswith(_BATCH_COUNT):
                missing.append(key)
        elif value.shape == state[found[key]].shape:
            loaded.append(key)
        else:
            mismatched.append(Mismatch(key, tuple(value.shape), tuple(state[found[key]].shape)))
    return LoadReport(
        source=name,
        kind=reading.kind,
        loaded=tuple(loaded),
        newly_initialized=tuple(new),
        missing=tuple(missing),
        unexpected=tuple(k for ours, k in found.items() if ours not in own and not k.endswith(_BATCH_COUNT)),
        mismatched=tuple(mismatched),
        source_names={key: found.get(key) or reading.theirs(key) for key in own},
    )


def _readings(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[_Reading]:
    """Every way to read the names; on equal terms the first is taken."""
    yield _Reading(_DETECTOR, {key: key for key in state}, lambda key: key)
    yield _detectron2_reading(state, own)
    body = {key.replace(".", "_"): key for key in own if key.startswith(_BODY)}
    for prefix in _BODY_PREFIXES:
        yield _body_reading(state, body, prefix)


def _detectron2_reading(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> _Reading:
    whole = any(key.startswith(("backbone.", "proposal_generator.", "roi_heads.")) for key in state)
    cascade = detectron2_keys.is_cascade(own)

    def ours(key: str) -> str | None:
        try:
            return detectron2_keys.from_detectron2_key(key)
        except CheckpointError:
            return key

    def theirs(key: str) -> str:
        try:
            name = detectron2_keys.to_detectron2_key(key, cascade=cascade)
        except CheckpointError:
            return key
        return name if whole else name.removeprefix("backbone.bottom_up.")

    return _Reading(_DETECTOR if whole else _BACKBONE, {key: ours(key) for key in state}, theirs)


def _body_reading(state: Mapping[str, Tensor], body: Mapping[str, str], prefix: str) -> _Reading:
    """A network of its own; `body` has our names with underscores, as timm joins the parts it takes features from."""

    def ours(key: str) -> str | None:
        bare = key.removeprefix(prefix)
        if not key.startswith(prefix):
            return None
        found = body.get(f"{_BODY}{bare}".replace(".", "_"))
        return found or (None if bare.startswith(_CLASSIFIERS) else key)

    return _Reading(_BACKBONE, {key: ours(key) for key in state}, lambda key: prefix + key.removeprefix(_BODY))


def _without_heads_of_other_classes(report: LoadReport) -> LoadReport:
    heads = tuple(entry.key for entry in report.mismatched if _HEAD_LAYER.fullmatch(entry.key))
    others = tuple(entry for entry in report.mismatched if entry.key not in heads)
    return replace(report, mismatched=others, newly_initialized=(*report.newly_initialized, *heads))


def _require_fit(report: LoadReport) -> None:
    if not report.fits:
        raise CheckpointError(_explain(report))


def _explain(report: LoadReport) -> str:
    wrong = len(report.missing) + len(report.unexpected) + len(report.mismatched)
    if len(report.loaded) <= wrong:
        found = f"only {len(report.loaded)} of its weights fit" if report.loaded else "none of its weights fits"
        what = f"{report.source} is a checkpoint of another model: {found}"
    else:
        what = f"{report.source} does not fit the model: {len(report.loaded)} weights do, {wrong} do not"
    if _without_heads_of_other_classes(report).fits:
        what += " (it is for another number of classes: build the model for that number, or pass reset_head=True to "
        what += "let these layers start anew)"
    return f"{what}\n{report.complaint()}"
