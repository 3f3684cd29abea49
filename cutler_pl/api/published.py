"""The files of a published detector: weights, description and model card."""

from pathlib import Path

from cutler_pl.api.model_card import CardOptions, Described, write_card
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError
from cutler_pl.models import Detector, DetectorMetadata
from cutler_pl.models.backends.networks import RuntimeNetwork
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.models.pretrained import read_config, write_pretrained
from cutler_pl.runtime.files import write_text
from cutler_pl.weights.hub import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from cutler_pl.weights.sources import locate_weights

PUBLISHED = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)


def write_published(
    folder: Path,
    detector: Detector,
    metadata: DetectorMetadata,
    *,
    source: str | Path | None,
    card: CardOptions,
    repository: str | None = None,
) -> tuple[str, ...]:
    """Write the files, the card first, as its settings may be wrong; returns their names.

    Args:
        source: Where the detector was loaded from. The card of a folder is kept, unless another one is asked for.
        repository: Where it will be published; None where that is not known yet.

    Raises:
        ConfigError: As `write_card`; the networks run in another backend, without their weights; or the folder holds
            files of these names of something else.
        OutputWriteError: The folder cannot be written.
    """
    if any(isinstance(module, RuntimeNetwork) for module in detector.modules()):
        raise ConfigError("a detector of backend=onnx or openvino holds no weights to save; load it by backend=torch")
    _check_folder(folder)
    described = Described(
        detector=detector,
        class_names=metadata.class_names,
        source=None if source is None else str(source),
        file=_local_file(source),
        repository=repository or _placeholder(folder),
    )
    if card == CardOptions() and (text := _card_beside(source)) is not None:
        write_text(folder / CARD_FILE, text.replace(_placeholder(Path(str(source))), described.repository))
    else:
        write_card(folder, described, card)
    content = detector_config(detector, category_ids=metadata.category_ids, class_names=metadata.class_names)
    write_pretrained(folder, detector, content)
    return PUBLISHED


def _check_folder(folder: Path) -> None:
    """Raise `ConfigError` for a folder in which one of the files would replace that of something else."""
    there = [name for name in PUBLISHED if (folder / name).exists()]
    try:
        if CONFIG_FILE in there:
            read_config(folder / CONFIG_FILE, name=str(folder))
            return
    except CheckpointError as error:
        raise ConfigError(f"{folder}: holds the files of something else ({error}); choose another folder") from error
    if there:
        raise ConfigError(f"{folder}: holds {' and '.join(there)} of something else; choose another folder")


def _placeholder(folder: Path) -> str:
    """The repository in the card of a folder that is not published yet."""
    return f"YOUR_ACCOUNT/{folder.resolve().name}"


def _card_beside(source: str | Path | None) -> str | None:
    """The card in the folder that a detector was loaded from, which its owner may have edited."""
    if source is None or not (Path(source) / CARD_FILE).is_file() or not (Path(source) / CONFIG_FILE).is_file():
        return None
    return (Path(source) / CARD_FILE).read_text(encoding="utf-8")


def _local_file(source: str | Path | None) -> Path | None:
    """The file that a detector was loaded from; None where it is gone."""
    try:
        return None if source is None else locate_weights(source)
    except CutlerError:
        return None
