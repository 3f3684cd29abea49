"""Make a dataset's class-agnostic annotation file from its original download, or fetch the released one."""

from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.commands.console import print_table
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.datasets.catalog import CATALOG, download_hint
from cutler_pl.datasets.converters import CONVERTED, ConversionReport, Options, Source, open_download, write_records
from cutler_pl.datasets.released_annotations import fetch_released
from cutler_pl.errors import ConfigError
from cutler_pl.reports.dataset import write_contact_sheet
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Convert or fetch as `conf/prepare_dataset.yaml` describes.

    Returns:
        The annotation file; beside a converted one, `<stem>_report` has counts, skipped records and examples.

    Raises:
        ConfigError: Settings are missing or contradict one another, or the dataset is not converted here.
        DatasetNotFoundError: A part of the download is missing, or the released file cannot be downloaded.
        AnnotationError: A file has another format.
        TooManyFailuresError: More is missing or invalid than `max_failure_rate` accepts.
    """
    require(cfg, "name")
    datasets = Path(cfg.paths.datasets)
    if cfg.fetch:
        return _fetch(cfg, datasets)
    _check(cfg)
    output = Path(cfg.output) if cfg.output else datasets / CATALOG[cfg.name].annotations
    if not cfg.overwrite and output.exists():
        raise ConfigError(f"{output}: the file exists; give output=<another file>, or replace it by overwrite=true")
    download = open_download(cfg.name, Path(cfg.root), datasets=datasets, options=_options(cfg))
    folder = output.with_name(f"{output.stem}_report")
    report = write_records(
        download.records,
        output,
        skipped=folder / "skipped.jsonl",
        info={"description": f"{cfg.name}, class-agnostic, converted by cutler_pl"},
        max_failure_rate=float(cfg.max_failure_rate),
    )
    record_run(folder, cfg)
    write_json(folder / "counts.json", _counts(report), indent=2)
    _print_counts(cfg.name, report)
    _draw_examples(folder / "examples.jpg", output, download.source, report, count=cfg.num_examples)
    log.info("%s: written; counts, skipped records and examples are in %s", output, folder)
    _warn_of_missing_images(datasets / CATALOG[cfg.name].images, download.source, report)
    return output


def _check(cfg: DictConfig) -> None:
    if cfg.name not in CONVERTED:
        raise ConfigError(f"name={cfg.name} is not converted from another format: {download_hint(cfg.name)}")
    if cfg.root is None:
        raise ConfigError("needed and not given: root=<folder of the original download>, or fetch=true")


def _options(cfg: DictConfig) -> Options:
    paths = {key: None if cfg[key] is None else Path(cfg[key]) for key in ("annotations", "images", "ids", "synsets")}
    splits = None if cfg.splits is None else tuple(map(str, cfg.splits))
    return Options(**paths, check_images=cfg.check_images, marked=cfg.marked, splits=splits)


def _fetch(cfg: DictConfig, datasets: Path) -> Path:
    if cfg.root is not None or cfg.output is not None:
        raise ConfigError("fetch=true downloads the released file to its path; it goes with neither root= nor output=")
    path, counts = fetch_released(cfg.name, datasets, mirror=cfg.mirror)
    print_table(Table([cfg.name, "images", "annotations", "categories"], [["", *(f"{number:,}" for number in counts)]]))
    log.info("%s: complete and as at the first download", path)
    return path


def _counts(report: ConversionReport) -> dict[str, object]:
    counts = {"images": report.images, "images_without_objects": report.empty}
    counts |= {"annotations": report.annotations, "ignored": report.ignored}
    names = ("kind", "reason", "is_error", "count")
    skipped = [dict(zip(names, (*key, count), strict=True)) for key, count in report.skipped.most_common()]
    return {**counts, "skipped": skipped}


def _print_counts(name: str, report: ConversionReport) -> None:
    counts = {"images": report.images, "  without objects": report.empty}
    counts |= {"annotations": report.annotations, "  ignored (iscrowd)": report.ignored}
    for (kind, reason, is_error), count in report.skipped.most_common():
        counts[f"{kind}s skipped: {reason}{' (error)' if is_error else ''}"] = count
    print_table(Table([name, "count"], [[row, f"{count:,}"] for row, count in counts.items()]))


def _draw_examples(path: Path, output: Path, source: Source, report: ConversionReport, *, count: int) -> None:
    path.unlink(missing_ok=True)  # of an earlier run
    if source.images is None or count < 1:
        return
    image_ids = sorted(report.objects)
    every = max(1, len(image_ids) // count)
    write_contact_sheet(path, output, source.images, prefix=source.prefix, image_ids=image_ids[::every][:count])


def _warn_of_missing_images(folder: Path, source: Source, report: ConversionReport) -> None:
    if (folder / report.first).is_file():
        return
    expected = (folder / source.prefix).absolute()
    link = f", for example: ln -s '{source.images.absolute()}' '{expected}'" if source.images else ""
    log.warning("the images of these annotations are expected in %s; put or link them there%s", expected, link)
