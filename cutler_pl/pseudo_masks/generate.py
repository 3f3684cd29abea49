"""MaskCut over a folder of photos, as a Lightning predict run that can be killed at any moment and run again.

Loader processes decode; the model step finds masks and refines them; threads resize and encode the masks of one
batch while the next is computed; every process appends to a shard file of its own. On one device, on many, and as the
parts of a job array the result is the same file.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader
from tqdm.contrib.logging import logging_redirect_tqdm

from cutler_pl.errors import TooManyFailuresError
from cutler_pl.maskcut.crf import CrfBackend, build_crf_backend
from cutler_pl.maskcut.encoding import AnnotationParams, encode_masks
from cutler_pl.maskcut.ncut import EigenSolver
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.predictor import Extractor, ImageMasks, MaskCutPredictor
from cutler_pl.pseudo_masks.dataset import MaskCutBatch, MaskCutDataset
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.pseudo_masks.output import JobShard, OutputFolder
from cutler_pl.pseudo_masks.shards import Progress, ShardRecord, ShardWriter
from cutler_pl.runtime.distributed import barrier, global_rank
from cutler_pl.runtime.logging import ROOT_NAME, get_logger

log = get_logger(__name__)

_NO_MEMORY = "out of memory, even alone; choose a smaller fixed size"

OnFound = Callable[[ImageMasks, ShardRecord], None]


def generate(
    root: str | Path,
    names: Sequence[str],
    output: str | Path,
    *,
    extractor: Extractor,
    params: MaskCutParams,
    trainer: L.Trainer,
    annotation: AnnotationParams | None = None,
    fixed_size: int = 480,
    batch_size: int = 16,
    num_workers: int = 2,
    threads: int = 2,
    part: JobShard | None = None,
    solver: str | EigenSolver = "auto",
    backend: CrfBackend | None = None,
    settings: Mapping[str, Any] | None = None,
    max_failure_rate: float = 0.1,
    on_begin: Callable[[], None] | None = None,
    on_found: OnFound | None = None,
    is_complete: Callable[[str], bool] | None = None,
) -> MergeReport | None:
    """Write the masks of all photos of a file, folder or list into `annotations.json` of an output folder.

    What is finished already is kept. A photo that cannot be read is listed in `failures.jsonl`, the others are done;
    the next run of the same command tries it again.

    Args:
        root: Folder of the photos.
        names: Their paths relative to it, sorted, as `list_images` gives them.
        output: Folder for the results; it belongs to one set of parameters.
        extractor: Gives the patch features; a module is moved to the trainer's device.
        params: Constants of the cut.
        trainer: Where to run: device, number of processes, precision.
        annotation: What is written of a mask beyond the original's annotation, if anything.
        fixed_size: Side of the square to which photos are resized, in pixels.
        batch_size: Photos computed at once, per process; halved where memory runs out.
        num_workers: Loader processes that decode, per process.
        threads: Threads that resize and encode masks beside the device, per process.
        part: Which part of a job array this is, if any; the last part to finish merges.
        solver: As for `maskcut`.
        backend: The refinement; the original's CRF where not given.
        settings: What else the results depend on, such as the input and the features' name, in JSON's types.
        max_failure_rate: Largest share of failed photos that still counts as success.
        on_begin: Called by one process when the output folder has been found free and fitting.
        on_found: Called in a thread for each photo's result and record, before the photo counts as done.
        is_complete: Tells of a photo with a record whether it needs no second look (pictures are there, say).

    Returns:
        What was merged; None where another process or a later part of the array merges.

    Raises:
        ConfigError: `part` is impossible, or the output folder holds results of other parameters.
        OutputLockedError: Another run is writing into the output folder.
        OutputWriteError: The output's disk is full; what is done stays.
        TooManyFailuresError: Everything is done, but too many photos failed.
    """
    part = part or JobShard()
    folder = OutputFolder(output, part)
    backend = backend or build_crf_backend()
    annotation = annotation or AnnotationParams()
    is_first = global_rank() == 0
    with folder.lock() if is_first else nullcontext():
        if is_first:
            constants = {
                "fixed_size": fixed_size,
                "cut": asdict(params),
                "crf": asdict(backend.params),
                "annotation": asdict(annotation),
            }
            folder.begin({**(settings or {}), **constants}, names)
            if on_begin is not None:
                on_begin()
        progress = folder.progress()
        batches = MaskCutDataset(
            Path(root),
            names,
            pending=np.array(
                [n not in progress.done or (is_complete is not None and not is_complete(n)) for n in names]
            ),
            batch_size=batch_size,
            fixed_size=fixed_size,
            part=(part.index, part.count),
        )
        to_do = batches.num_photos
        log.info("%s: %d photos, %d of them to do in this run", root, len(names), to_do)
        finder = MaskCutPredictor(extractor, params, solver=solver, backend=backend)
        module = _MaskCutModule(
            finder, shard=folder.shard, progress=progress, annotation=annotation, on_found=on_found, threads=threads
        )
        if isinstance(extractor, nn.Module):
            module.extractor = extractor  # so that the trainer moves it to the device
        if to_do:
            data = _PhotoModule(batches, num_workers=num_workers)
            try:
                with logging_redirect_tqdm([logging.getLogger(ROOT_NAME)]):  # messages above the bar, not into it
                    trainer.predict(module, datamodule=data, return_predictions=False)
            finally:
                module.close()
        barrier()
        if not is_first:
            return None
        folder.mark_finished()
        report = folder.merge(names) if part.count == 1 else None
    if part.count > 1:
        report = folder.merge_if_last(names)
    failures, seen = (report.failed, len(names)) if report else (module.failures, to_do)
    if seen and len(failures) / seen > max_failure_rate:
        name, reason = next(iter(failures.items()))
        if len(names) == 1:
            raise TooManyFailuresError(f"{Path(root) / name}: {reason}")
        raise TooManyFailuresError(
            f"{root}: {len(failures)} of {seen} photos failed, more than the accepted share of {max_failure_rate:g} "
            f"(max_failure_rate), for example {name}: {reason}; all are listed in {folder.failures}"
        )
    return report


class _MaskCutModule(L.LightningModule):
    """The model step, and the threads that annotate behind it."""

    def __init__(
        self,
        finder: MaskCutPredictor,
        *,
        shard: Callable[[int], Path],
        progress: Progress,
        annotation: AnnotationParams,
        on_found: OnFound | None,
        threads: int,
    ) -> None:
        super().__init__()
        self.totals: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self._finder = finder
        self._shard = shard
        self._progress = progress
        self._annotation = annotation
        self._on_found = on_found
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="annotate")
        self._writer: ShardWriter | None = None
        self._computed: list[Future[ShardRecord]] = []

    def on_predict_start(self) -> None:
        self._writer = ShardWriter(self._shard(self.global_rank))

    def predict_step(self, batch: MaskCutBatch, batch_idx: int) -> int:
        found = self._finder.predict(batch.names, batch.pixels)
        self._write()  # the batch before
        self._computed = [self._pool.submit(_failure, name, reason) for name, reason in batch.failures.items()]
        for name, size_hw, one in zip(batch.names, batch.sizes_hw, found, strict=True):
            if one is None:
                self._computed.append(self._pool.submit(_failure, name, _NO_MEMORY))
            else:
                self._computed.append(self._pool.submit(self._annotated, one, size_hw))
        return len(self._computed)

    def on_predict_epoch_end(self) -> None:
        self._write()

    def close(self) -> None:
        """Let the threads end, also after an error; what is not written then is done by the next run."""
        self._pool.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.close()

    def _annotated(self, found: ImageMasks, size_hw: tuple[int, int]) -> ShardRecord:
        annotations, left_out = encode_masks(found, size_hw, params=self._annotation)
        record: ShardRecord = {
            "file": found.name,
            "height": size_hw[0],
            "width": size_hw[1],
            "annotations": annotations,
            "dropped": {**found.dropped, **left_out},
        }
        if self._on_found is not None:
            self._on_found(found, record)
        return record

    def _write(self) -> None:
        assert self._writer is not None  # opened when the run started
        records = [future.result() for future in self._computed]
        self._computed = []
        self._writer.append([record for record in records if self._is_new(record)])
        for record in records:
            self.totals["photos"] += 1
            self.totals["kept"] += len(record.get("annotations", ()))
            self.totals["dropped"] += sum(record.get("dropped", {}).values())
            if "failure" in record:
                self.totals["failed"] += 1
                self.failures[record["file"]] = record["failure"]
                log.warning("%s: %s", record["file"], record["failure"])

    def _is_new(self, record: ShardRecord) -> bool:
        if "failure" in record:
            return self._progress.failed.get(record["file"]) != record["failure"]
        return record["file"] not in self._progress.done


def _failure(name: str, reason: str) -> ShardRecord:
    return {"file": name, "failure": reason}


def _as_it_is(batch: Any) -> Any:
    return batch  # torch's own function would turn tuples into lists


class _PhotoModule(L.LightningDataModule):
    """Divides the batches among the processes and loads them."""

    def __init__(self, batches: MaskCutDataset, *, num_workers: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.batches = batches
        self._num_workers = num_workers

    def setup(self, stage: str) -> None:
        assert self.trainer is not None  # Lightning calls this
        self.batches.split(self.trainer.global_rank, self.trainer.world_size)

    def predict_dataloader(self) -> DataLoader[MaskCutBatch]:
        return DataLoader(
            self.batches,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self._num_workers,
            pin_memory=torch.cuda.is_available(),
        )


class MaskCutProgressBar(TQDMProgressBar):
    """Progress in photos: how many a second, time left, masks kept and dropped, photos failed."""

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar over this process's photos."""
        self.predict_progress_bar = self.init_predict_tqdm()
        self.predict_progress_bar.set_description("MaskCut")
        self.predict_progress_bar.unit = "photo"
        data = trainer.datamodule  # type: ignore[attr-defined]
        self.predict_progress_bar.reset(data.batches.num_photos)

    def on_predict_batch_start(self, *_: Any) -> None:
        """Leave the bar alone: it counts photos, not batches."""

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show what has been written."""
        self._show(pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last batch, and close."""
        self._show(pl_module)
        super().on_predict_end(trainer, pl_module)

    def _show(self, module: L.LightningModule) -> None:
        assert isinstance(module, _MaskCutModule)
        totals = module.totals
        bar = self.predict_progress_bar
        bar.set_postfix({key: totals[key] for key in ("kept", "dropped", "failed")}, refresh=False)
        bar.update(totals["photos"] - bar.n)
