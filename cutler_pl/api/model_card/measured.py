"""The metrics of an evaluation, for a model card: those of the very weights that it is about."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutler_pl.api.model_card.run_folder import stages
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import file_digest
from cutler_pl.weights.hub import CONFIG_FILE, WEIGHTS_FILE
from cutler_pl.weights.sources import DetectorFiles, detector_digest

_RESULTS, _FINISHED = "results.json", "finished.json"
_METRICS = ("AP", "AP50", "AP75", "AR100")
_TITLES = {"bbox": "box", "segm": "mask"}


@dataclass(frozen=True)
class Measured:
    """Metrics in percent, one row per dataset and kind: the dataset, `box` or `mask`, and the metrics by name."""

    rows: tuple[tuple[str, str, Mapping[str, float]], ...] = ()
    names: tuple[str, ...] = _METRICS


def read_measured(evaluation: str | Path | None, recipe: Path | None, checkpoint: Path | None) -> Measured:
    """The metrics of a folder of `cutler evaluate`, or of the evaluation in a recipe.

    Args:
        evaluation: The folder; None for the recipe's.
        recipe: Folder of the recipe, if the detector is of one.
        checkpoint: File of the weights; an evaluation of another file is refused, or not taken from the recipe.

    Raises:
        ConfigError: The folder holds no metrics, or those of another checkpoint.
    """
    if evaluation is None:
        folders = [] if recipe is None else [folder for folder in stages(recipe) if (folder / _RESULTS).is_file()]
        folders = [folder for folder in folders if not _is_of_other_weights(folder, checkpoint)]
        return _read(folders[-1]) if folders else Measured()
    folder = Path(evaluation)
    if _is_of_other_weights(folder, checkpoint):
        raise ConfigError(
            f"{folder}: these metrics are of another checkpoint than {checkpoint}; run cutler evaluate with "
            "checkpoint= this file, or give its folder"
        )
    return _read(folder)


def _read(folder: Path) -> Measured:
    wrong = ConfigError(f"{folder}: holds no {_RESULTS} of cutler evaluate; give the folder that it wrote")
    try:
        results = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
        rows = [
            (str(dataset), _TITLES[kind], {name: float(row[name]) for name in _METRICS if row.get(name, -1) >= 0})
            for dataset, kinds in results.items()
            for kind, row in kinds.items()
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise wrong from error
    if not rows:
        raise wrong
    return Measured(tuple(rows))


def _is_of_other_weights(folder: Path, checkpoint: Path | None) -> bool:
    """Whether the predictions say that they were made by other weights."""
    if checkpoint is None:
        return False
    recorded = set()
    for file in folder.glob(f"*/{_FINISHED}"):
        try:
            settings: Any = json.loads(file.read_text(encoding="utf-8"))["settings"]
            recorded.add(settings["checkpoint"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    digests = {digest for digest in recorded if isinstance(digest, str) and len(digest) == 64}
    if not digests:
        return False
    own, config = {file_digest(checkpoint)}, checkpoint.with_name(CONFIG_FILE)
    if checkpoint.name == WEIGHTS_FILE and config.is_file():
        own.add(detector_digest(DetectorFiles(checkpoint, config)))
    return not own & digests
