"""MaskCut over a folder of images, as a Lightning predict run that can be killed at any moment and resumed.

Loader processes decode; the predict step finds and refines masks; threads resize and encode the masks of one batch
while the next is computed; every process appends to a shard file of its own. One device, many, and the parts of a job
array give the same file.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import lightning as L
from tqdm.contrib.logging import logging_redirect_tqdm

from cutler_pl.errors import TooManyFailuresError
from cutler_pl.maskcut.feature_cache import log_use
from cutler_pl.maskcut.predictor import MaskPredictor
from cutler_pl.pseudo_masks.dataset import MaskCutDataModule, MaskCutDataset
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.pseudo_masks.module import MaskCutModule
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions
from cutler_pl.pseudo_masks.output_folder import OutputFolder
from cutler_pl.runtime.distributed import barrier, global_rank
from cutler_pl.runtime.logging import ROOT_NAME, get_logger

log = get_logger(__name__)


def generate(
    root: str | Path,
    names: Sequence[str],
    output: str | Path,
    *,
    predictor: MaskPredictor,
    trainer: L.Trainer,
    options: RunOptions,
    observer: Observer | None = None,
) -> MergeReport | None:
    """Write the masks of all images of a file, folder or list into `annotations.json` of an output folder.

    What is done already is kept. An image that cannot be read is listed in `failures.jsonl`, the others are done; the
    next run of the same command tries it again.

    Args:
        root: Folder of the images.
        names: Their paths relative to it, sorted, as `list_images` gives them.
        output: Folder for the results; it belongs to one set of parameters.
        predictor: Finds the masks of a batch; those of its extractors that are modules are moved to the trainer's
            device.
        trainer: Where to run: device, number of processes, precision.
        options: How the run goes.
        observer: What else happens, such as drawing.

    Returns:
        What was merged; None where another process or a later part of the array merges.

    Raises:
        ConfigError: The output folder holds results of other parameters.
        OutputLockedError: Another run is writing into the output folder.
        OutputWriteError: The output's disk is full; what is done stays.
        TooManyFailuresError: Everything is done, but too many images failed.
    """
    observer = observer or Observer()
    folder = OutputFolder(output, options.shard)
    is_first = global_rank() == 0
    with folder.lock() if is_first else nullcontext():
        if is_first:
            generator = predictor.generator
            constants = {
                "fixed_size": options.fixed_size,
                **({} if options.tiles is None else {"tiles": asdict(options.tiles)}),
                **({} if generator.name == "maskcut" else {"generator": generator.name}),
                "cut": generator.constants(),
                "crf": asdict(predictor.backend.params),
                "annotation": options.annotation.constants(),
                **({} if predictor.confidence is None else {"confidence": asdict(predictor.confidence)}),
            }
            folder.begin({**options.settings, **constants}, names)
            observer.on_start()
        progress = folder.progress()
        batches = MaskCutDataset(
            Path(root),
            names,
            is_done=lambda name: name in progress.done and observer.is_complete(name),
            options=options,
            preview_side=observer.preview_side,
        )
        to_do = batches.num_images
        log.info("%s: %d images, %d of them to do in this run", root, len(names), to_do)
        module = MaskCutModule(predictor, folder=folder, progress=progress, options=options, observer=observer)
        if to_do:
            data = MaskCutDataModule(batches, num_workers=options.num_workers)
            try:
                with logging_redirect_tqdm([logging.getLogger(ROOT_NAME)]):  # messages above the bar, not into it
                    trainer.predict(module, datamodule=data, return_predictions=False)
            finally:
                module.close()
            log_use(predictor.extractors.values())
        barrier()
        if not is_first:
            return None
        folder.mark_finished()
        report = folder.merge(names) if options.shard.count == 1 else None
    if options.shard.count > 1:
        report = folder.merge_if_last(names)
    failures, seen = (report.failed, len(names)) if report else (module.failures, to_do)
    check_failures(failures, seen, options.max_failure_rate, root=Path(root), listed_in=folder.failures)
    return report


def check_failures(
    failures: Mapping[str, str], seen: int, max_failure_rate: float, *, root: Path, listed_in: Path
) -> None:
    """Raise `TooManyFailuresError` where a larger share of the images failed than is accepted."""
    if not seen or len(failures) / seen <= max_failure_rate:
        return
    name, reason = next(iter(failures.items()))
    if seen == 1:
        raise TooManyFailuresError(f"{root / name}: {reason}")
    raise TooManyFailuresError(
        f"{root}: {len(failures)} of {seen} images failed, more than the accepted share of {max_failure_rate:g} "
        f"(max_failure_rate), for example {name}: {reason}; all are listed in {listed_in}"
    )
