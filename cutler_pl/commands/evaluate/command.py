"""Measure detections against ground truth, on one dataset or all of the catalogue: tables, files and a page.

First all predictions that are missing are made, by all ranks; then one process measures. Each dataset is kept when it
is finished, so that the same command goes on where it was interrupted.
"""

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cutler_pl.commands.console import print_table
from cutler_pl.commands.evaluate.measure import measure_all
from cutler_pl.commands.evaluate.plan import FailedDatasets, Plan, make_plan
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.errors import TooManyFailuresError
from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.reports.evaluation import PAGE, EvaluatedDataset, write_evaluation_page
from cutler_pl.reports.evaluation_files import write_report
from cutler_pl.reports.evaluation_tables import Report, metrics_table, missing_table
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Evaluate `cfg.predictions`, or those that `cfg.checkpoint` makes, as `conf/evaluate.yaml` describes.

    Returns:
        The file of metrics, `<output>/results.json`: dataset, then "bbox" or "segm", then metric, in percent.

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
    cfg = cfg.copy()
    cfg.output = str(plan.output)
    failed = FailedDatasets(plan.tasks)
    with file_lock(plan.output, purpose="evaluate") if global_rank() == 0 else nullcontext():
        if cfg.checkpoint:
            # a file of predictions is measured without loading any of the detector's code
            from cutler_pl.commands.evaluate.predict import predict_all

            predict_all(cfg, plan, failed)
        if global_rank() == 0:
            results = measure_all(cfg, plan, failed)
            report_all(cfg, plan, results, failed)
    if failed and global_rank() == 0:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise TooManyFailuresError(f"{len(failed)} of {len(plan.tasks)} datasets could not be measured ({reasons})")
    return plan.output / "results.json"


def report_all(cfg: DictConfig, plan: Plan, results: Mapping[str, DatasetResult], failed: Mapping[str, str]) -> None:
    """Write the tables and the page with curves and examples, and print the main table."""
    report = Report(
        results={name: result.metrics for name, result in results.items()},
        method=cfg.method,
        missing={**plan.missing, **failed},
        counts={name: result.counts for name, result in results.items()},
        categories={name: result.categories for name, result in results.items() if result.categories},
        label_percent=cfg.label_percent,
    )
    datasets = [
        EvaluatedDataset(task.name, results[task.name], task.images, task.folder)
        for task in plan.tasks
        if task.name in results
    ]
    record_run(plan.output, cfg)
    write_report(plan.output, report)
    write_evaluation_page(plan.output, report, datasets, command=_command_line())
    print_table(metrics_table(report))
    if report.missing:
        print_table(missing_table(report))
    log.info("tables in %s, examples and curves in %s", plan.output / "report.md", plan.output / PAGE)


def _command_line() -> str | None:
    """What was typed; None where `run` was called by another program."""
    if not HydraConfig.initialized():
        return None
    return shlex.join(["python", "scripts/evaluate.py", *HydraConfig.get().overrides.task])
