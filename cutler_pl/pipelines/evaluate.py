"""Measure detections against ground truth, print one table and write it beside the published numbers."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cutler_pl.errors import ConfigError, DatasetNotFoundError
from cutler_pl.evaluation import Curves, IouType, evaluate, write_report
from cutler_pl.evaluation.report import Measures, measure_rows
from cutler_pl.pipelines.record import record_run
from cutler_pl.runtime.files import write_json


def run(cfg: DictConfig) -> Path:
    """Evaluate `cfg.predictions`, or those of `cfg.checkpoint` on `cfg.images`, as `conf/evaluate.yaml` describes.

    Returns:
        The file of measures, `<output>/results.json`: dataset, then "bbox" or "segm", then measure, in percent.

    Raises:
        ConfigError: Neither or both of predictions and checkpoint are given.
        DatasetNotFoundError: A file or folder is missing.
        AnnotationError: Ground truth or predictions are faulty, or have no masks to compare.
        CheckpointError: The checkpoint cannot be read.
    """
    check(cfg)
    output = Path(cfg.output)
    predictions = Path(cfg.predictions) if cfg.predictions else _predict(cfg, output)
    curves = evaluate(
        cfg.annotations,
        predictions,
        iou_types=list(cfg.eval.iou_types),
        class_agnostic=cfg.eval.class_agnostic,
        max_dets=list(cfg.eval.max_dets),
        on_error=cfg.on_error,
    )
    record_run(output, cfg)
    dataset = cfg.dataset or Path(cfg.annotations).stem
    results: dict[str, Measures] = {
        dataset: {kind: curve.summary(ap_max_dets=cfg.eval.ap_max_dets) for kind, curve in curves.items()}
    }
    write_report(output, results, method=cfg.method)
    if cfg.eval.per_category:
        write_json(output / "categories.json", _per_category(curves, cfg.eval.ap_max_dets), indent=2)
    show(results)
    return output / "results.json"


def check(cfg: DictConfig) -> None:
    """Find what is wrong with the settings before anything is read or predicted.

    Raises:
        ConfigError: Neither or both of predictions and checkpoint are given, or settings do not go together.
        DatasetNotFoundError: A file or folder is missing.
    """
    if bool(cfg.predictions) == bool(cfg.checkpoint):
        found = "both" if cfg.predictions else "neither"
        raise ConfigError(f"give either predictions=<json> or checkpoint=<file> with images=<folder>; found {found}")
    if cfg.checkpoint and not cfg.images:
        raise ConfigError("checkpoint= needs images=<folder>, the images to predict on")
    if cfg.eval.ap_max_dets is not None and cfg.eval.ap_max_dets not in cfg.eval.max_dets:
        raise ConfigError(f"eval.ap_max_dets={cfg.eval.ap_max_dets} must be one of eval.max_dets={cfg.eval.max_dets}")
    if cfg.on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={cfg.on_error} must be raise or skip")
    for key in ("annotations", "predictions"):
        if cfg[key] and not Path(cfg[key]).is_file():
            raise DatasetNotFoundError(f"no such file: {cfg[key]} ({key}=)")
    if cfg.images and not Path(cfg.images).is_dir():
        raise DatasetNotFoundError(f"no such folder: {cfg.images} (images=)")


def show(results: Mapping[str, Measures]) -> None:
    """Print the table of COCO's main measures on standard output, never cut to the width of a pipe or log."""
    header, rows = measure_rows(results, without=("ARs", "ARm", "ARl"))
    table = Table(title="percent; – where there is no ground truth of that size", title_justify="left", box=SIMPLE_HEAD)
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    needed = 8 + sum(3 + max(map(len, column)) for column in zip(header, *rows, strict=True))
    Console(width=max(Console().width, needed)).print(table)


def _predict(cfg: DictConfig, output: Path) -> Path:
    """Predictions of the checkpoint; a file of predictions is measured without loading any of the detector's code."""
    from cutler_pl.pipelines.predict import predict_annotated

    return predict_annotated(cfg, output / "predictions")


def _per_category(
    curves: Mapping[IouType, Curves], ap_max_dets: int | None
) -> Mapping[IouType, dict[str, dict[str, float]]]:
    return {kind: curve.per_category(ap_max_dets=ap_max_dets) for kind, curve in curves.items()}
