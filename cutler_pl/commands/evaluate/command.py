"""Measure detections against ground truth, on one dataset or all of the catalogue: tables, files and a page.

All ranks make the missing predictions, then rank 0 measures. The same command resumes after an interruption.
"""

import shlex
from collections.abc import Mapping
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
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Evaluate `cfg.predictions`, or those of `cfg.checkpoint`, as `conf/evaluate.yaml` describes.

    Returns:
        `<output>/results.json`: dataset, "bbox" or "segm", metric, in percent.

    Raises:
        ConfigError: Settings contradict one another.
        DatasetNotFoundError: A file or folder is missing, or all datasets are.
        AnnotationError: Ground truth or predictions are invalid, or have no masks to compare.
        CheckpointError: The checkpoint cannot be read.
        TooManyFailuresError: Some of several datasets could not be measured; the others are reported.
    """
    plan = make_plan(cfg)
    if plan.missing:
        log.warning("missing and left out: %s; the end of this run says how to get them", ", ".join(plan.missing))
    cfg = cfg.copy()
    cfg.output = str(plan.output)
    failed = FailedDatasets(plan.tasks)
    with rank_zero_lock(plan.output, purpose="evaluate"):
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
    tasks = [task for task in plan.tasks if task.name in results]
    datasets = [EvaluatedDataset(task.name, results[task.name], task.images, task.folder) for task in tasks]
    write_report(plan.output, report)
    record_run(plan.output, cfg)
    write_evaluation_page(plan.output, report, datasets, command=_command_line())
    print_table(metrics_table(report))
    if report.missing:
        print_table(missing_table(report))
    log.info("tables in %s, examples and curves in %s", plan.output / "report.md", plan.output / PAGE)


def _command_line() -> str | None:
    """The command line; None where another program calls `run`."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else None
    return None if overrides is None else shlex.join(["cutler", "evaluate", *overrides])
