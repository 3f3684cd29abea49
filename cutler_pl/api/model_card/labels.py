"""Which parts of a detector saw labels that people made, followed back from its training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cutler_pl.api.model_card.run_folder import RunFolder, last_part, read_folder, training_of
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.weights.provenance import Learned, features_learned_from, learned_from

_MOST_ROUNDS = 20
_UNKNOWN = Learned("not recorded", None)


class Part(NamedTuple):
    """One part of a detector's making."""

    name: str
    learned: Learned


def trace_labels(training: RunFolder) -> list[Part]:
    """The parts of a training and of all that it began with, the first one first, each once."""
    return list(dict.fromkeys(_parts(training, _MOST_ROUNDS)))


def _parts(training: RunFolder, rounds: int) -> Iterator[Part]:
    init = training.get("model.init")
    before = _training_behind(training, init)
    if before is not None and rounds > 0:
        yield from _parts(before, rounds - 1)
    else:
        known = None if init is None else learned_from(str(init))
        unknown = Learned(f"`{last_part(init)}`: not recorded", None)
        yield Part("Start weights", known or unknown)
    file = training.get("data.annotations")
    yield from _annotations(training, file, rounds)


def _annotations(run: RunFolder, file: Any, rounds: int) -> Iterator[Part]:
    """Where a COCO file comes from: the folder it lies in says so, or its name."""
    if (known := _released(last_part(file))) is not None:
        yield known
        return
    path = run.find(file)
    made = None if path is None else read_folder(path.parent)
    if path is not None and (converted := read_folder(path.with_name(f"{path.stem}_report"))) is not None:
        yield Part("Annotations", Learned(f"the labels of {converted.get('name')}", True))
    elif made is None or rounds < 1:
        yield Part("Annotations", Learned(f"`{last_part(file)}`: nothing beside the file says who made it", None))
    elif "threshold" in made.config:  # of a round of self-training
        yield from _annotations(made, made.get("annotations"), rounds - 1)
        detector = _training_behind(made, made.get("checkpoint"))
        if detector is not None:
            yield from _parts(detector, rounds - 1)
        yield Part("Masks of a round of self-training", Learned("predictions of the detector before", False))
    elif "features" in (made.get("maskcut") or {}) and "crf" in made.config:
        name = str(made.get("maskcut.features.name"))
        yield Part(f"Features of MaskCut, {name}", features_learned_from(name) or _UNKNOWN)
        yield Part("Masks", Learned("MaskCut on the training images", False))
    elif made.get("names") is not None:
        yield from _annotations(made, made.get("annotations"), rounds - 1)
        yield Part("Names of the classes", Learned("people named clusters of masks", True))
    else:
        yield Part("Annotations", Learned(f"`{last_part(file)}`: not recorded", None))


def _released(name: str) -> Part | None:
    """What the catalogue says of a file: pseudo-masks of ImageNet, or the labels of a dataset."""
    for dataset, info in CATALOG.items():
        if name == last_part(info.annotations):
            if dataset.startswith("imagenet_"):
                return Part(
                    "Masks", Learned("MaskCut and self-training on ImageNet, released by CutLER's authors", False)
                )
            return Part("Annotations", Learned(f"labels of {dataset}", True))
    return None


def _training_behind(run: RunFolder, checkpoint: Any) -> RunFolder | None:
    path: Path | None = run.find(checkpoint)
    return None if path is None else training_of(path)


def verdict(parts: list[Part]) -> str:
    """One sentence over all parts."""
    if not parts:
        return "Whether a part of this detector saw human labels is not recorded."
    named: Mapping[bool | None, list[str]] = {
        value: [part.name for part in parts if part.learned.labels is value] for value in (True, None)
    }
    if named[True]:
        return f"Human labels were used: {'; '.join(named[True])}."
    if named[None]:
        return f"No part is known to have seen human labels; not recorded: {'; '.join(named[None])}."
    return "No part of this detector saw human labels."
