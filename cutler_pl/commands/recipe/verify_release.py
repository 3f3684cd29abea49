"""The steps of `recipe=verify_release` that no command does: what is missing, and the verdict."""

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from omegaconf import DictConfig, open_dict

from cutler_pl.coco.stream import read_records
from cutler_pl.commands.console import print_table
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.datasets.released_annotations import RELEASED
from cutler_pl.errors import ConfigError, DatasetNotFoundError
from cutler_pl.evaluation.published import published_numbers, with_published_numbers
from cutler_pl.reports.verification import MeasuredDataset, Verification, verification_table, write_verification
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.sources import locate_weights

log = get_logger(__name__)


def choose(cfg: DictConfig) -> DictConfig:
    """A copy in which everything follows from `datasets` and `checkpoint`; nothing is read or written.

    Raises:
        ConfigError: There is no such dataset, or nothing was published of the weights on it.
    """
    weights = _name_of(str(cfg.checkpoint))
    published = published_numbers(weights)
    if not published:
        known = ", ".join(with_published_numbers())
        raise ConfigError(f"checkpoint={cfg.checkpoint}: nothing was published of such weights; choose one of {known}")
    datasets = list(dict.fromkeys(map(str, cfg.datasets or [])))
    if not datasets:
        raise ConfigError(f"datasets=[] verifies nothing; choose among {', '.join(published)}")
    for name in datasets:
        if name not in CATALOG or name not in published:
            close = [] if name in CATALOG else difflib.get_close_matches(name, published, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            what = f"nothing was published of {weights} on it" if name in CATALOG else "there is no such dataset"
            raise ConfigError(f"datasets={name}: {what}{hint}; choose among {', '.join(published)}")
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.recipe.datasets = datasets
        cfg.recipe.fetched = [name for name in datasets if name in RELEASED]
        cfg.recipe.eval = "agnostic" if all(CATALOG[name].class_agnostic for name in datasets) else "per_class"
    return cfg


def check_folders(datasets: Sequence[str], root: str) -> None:
    """Raise `DatasetNotFoundError` that names all image folders, and annotations that nobody released, at once."""
    missing = []
    for name in datasets:
        info = CATALOG[name]
        if not (Path(root) / info.images).is_dir():
            missing.append(f"the image folder {info.images} of {name}")
        if name not in RELEASED and not (Path(root) / info.annotations).is_file():
            missing.append(f"the annotations {info.annotations} of {name}")
    if missing:
        raise DatasetNotFoundError(
            f"paths.datasets={root}: missing are {', '.join(missing)}; docs/datasets.md says where each comes from, "
            "and 'datasets=[<name>]' verifies fewer"
        )


def check_images(datasets: Sequence[str], root: str) -> None:
    """Raise `DatasetNotFoundError` where images of the annotations are missing, as they would count as not found."""
    missing = []
    for name in datasets:
        info, count, absent = CATALOG[name], 0, []
        folder = Path(root) / info.images
        for key, record in read_records(Path(root) / info.annotations):
            if key == "images":
                count += 1
                if not (folder / str(record["file_name"])).is_file():
                    absent.append(record["file_name"])
        if absent:
            missing.append(f"{len(absent):,} of the {count:,} images of {name} in {info.images}, first {absent[0]}")
    if missing:
        raise DatasetNotFoundError(
            f"paths.datasets={root}: missing are {'; '.join(missing)}; complete the download, or leave the dataset out"
        )


def judge(
    output: str,
    evaluation: str,
    checkpoint: str,
    datasets: Sequence[str],
    root: str,
    tolerance: float,
    seed: int,
) -> None:
    """Compare with the published numbers; print the table, write `verification.json` and `verification.txt`."""
    weights = _name_of(checkpoint)
    measured = [
        MeasuredDataset.read(Path(evaluation), name, file_digest(Path(root) / CATALOG[name].annotations))
        for name in datasets
    ]
    verification = Verification(
        weights=weights,
        weights_sha256=file_digest(locate_weights(checkpoint)),
        published=published_numbers(weights),
        measured=measured,
        tolerance=float(tolerance),
        metadata=run_metadata(seed),
    )
    write_verification(Path(output), verification)
    print_table(verification_table(verification))
    log.info("%s: %s", weights, verification.sentence)


def _name_of(checkpoint: str) -> str:
    """The released name of a file or name."""
    return PurePosixPath(checkpoint).stem
