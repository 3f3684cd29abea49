"""Measure detections against ground truth, on one dataset or all of the catalogue: tables, files and a page.

First all predictions that are missing are made, by all ranks; then one process measures. Each dataset is kept when it
is finished, so that the same command goes on where it was interrupted.
"""

import shlex
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cutler_pl.commands.console import print_table
from cutler_pl.commands.evaluate.measure import measure_dataset
from cutler_pl.commands.evaluate.plan import Plan, make_plan
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.errors import CutlerError, TooManyFailuresError
from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.reports.evaluation import PAGE, write_evaluation_page
from cutler_pl.reports.evaluation_files import write_report
from cutler_pl.reports.evaluation_tables import Report, metrics_table, missing_table
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Evaluate `cfg.predictions`, or those that `cfg.checkpoint` makes, as `conf/evaluate.yaml` describes.

    Returns:
        The file of measures, `<output>/results.json`: dataset, then "bbox" or "segm", then measure, in percent.

    Raises:
        ConfigError: Settings do not go together.
        DatasetNotFoundError: A file or folder is missing, or none of the datasets is there.
        AnnotationError: Ground truth or predictions are faulty, or have no masks to compare.
        CheckpointError: The checkpoint cannot be read.
        TooManyFailuresError: Some of several datasets could not be measured; the others were, and are reported.
    """
    plan = make_plan(cfg)
    if plan.missing:
        log.warning("not there, and left out: %s; the end of this run says how to get them", ", ".join(plan.missing))
    source = str(cfg.predictions or cfg.checkpoint)
    digest = file_digest(source) if Path(source).is_file() else None
    output = Path(cfg.output) if cfg.output else _default_output(cfg, source, digest)
    cfg = cfg.copy()
    cfg.output = str(output)
    with file_lock(output, purpose="evaluate") if global_rank() == 0 else nullcontext():
        return _run(cfg, plan, output, digest)


def _run(cfg: DictConfig, plan: Plan, output: Path, digest: str | None) -> Path:
    failed: dict[str, str] = {}
    folders = {task.name: output / task.name.replace("/", "_") for task in plan.tasks}
    predictions = {task.name: task.predictions for task in plan.tasks if task.predictions is not None}
    if cfg.checkpoint:
        # a file of predictions is measured without loading any of the detector's code
        from cutler_pl.commands.evaluate.predict import predict_all

        predictions, failed = predict_all(cfg, plan.tasks, folders, digest=digest)
    if global_rank() != 0:
        return output / "results.json"
    results: dict[str, DatasetResult] = {}
    for task in plan.tasks:
        if task.name in failed:
            continue
        try:
            results[task.name] = measure_dataset(
                task,
                predictions[task.name],
                folders[task.name],
                on_error=cfg.on_error,
                per_category=cfg.eval.per_category,
                gallery=cfg.gallery,
            )
        except CutlerError as error:
            if len(plan.tasks) == 1:
                raise
            log.error("%s: %s", task.name, error)
            failed[task.name] = str(error)
    _report(cfg, plan, output, results, failed, folders)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise TooManyFailuresError(f"{len(failed)} of {len(plan.tasks)} datasets could not be measured ({reasons})")
    return output / "results.json"


def _report(
    cfg: DictConfig,
    plan: Plan,
    output: Path,
    results: dict[str, DatasetResult],
    failed: dict[str, str],
    folders: dict[str, Path],
) -> None:
    report = Report(
        results={name: result.measures for name, result in results.items()},
        method=cfg.method,
        missing={**plan.missing, **failed},
        counts={name: result.counts for name, result in results.items()},
        categories={name: result.categories for name, result in results.items() if result.categories},
        labels=cfg.labels,
    )
    record_run(output, cfg)
    write_report(output, report)
    write_evaluation_page(output, report, results, folders, command=_command_line())
    print_table(metrics_table(report))
    if report.missing:
        print_table(missing_table(report))
    log.info("tables in %s, pictures and curves in %s", output / "report.md", output / PAGE)


def _command_line() -> str | None:
    """What was typed; None where `run` was called by another program."""
    if not HydraConfig.initialized():
        return None
    return shlex.join(["python", "scripts/evaluate.py", *HydraConfig.get().overrides.task])


def _default_output(cfg: DictConfig, source: str, digest: str | None) -> Path:
    """A folder that the same command finds again, and another checkpoint does not."""
    name = Path(source).stem if digest is None else f"{Path(source).stem}_{digest[:8]}"
    return Path(cfg.paths.root_dir) / "outputs" / "evaluate" / name
