"""The predict step of a MaskCut run, and the threads that encode masks behind it."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import lightning as L
import numpy as np
from jaxtyping import UInt8
from torch import nn

from cutler_pl.coco.parts import PartWriter, ShardRecord
from cutler_pl.maskcut.encoding import encode_masks, encode_tiles
from cutler_pl.maskcut.predictor import ImageMasks, MaskPredictor
from cutler_pl.ops.tiles import Window
from cutler_pl.pseudo_masks.dataset import MaskCutBatch
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions
from cutler_pl.pseudo_masks.output_folder import OutputFolder
from cutler_pl.pseudo_masks.shards import Progress
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_NO_MEMORY = "out of memory, even alone; choose a smaller fixed size"


class MaskCutModule(L.LightningModule):
    """Finds the masks of a batch while threads resize and encode those of the batch before.

    Attributes:
        totals: Images processed and failed, masks kept and dropped by this process.
        failures: Reason per image that failed in this process.
    """

    def __init__(
        self,
        predictor: MaskPredictor,
        *,
        folder: OutputFolder,
        progress: Progress,
        options: RunOptions,
        observer: Observer,
    ) -> None:
        super().__init__()
        self.totals: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        modules = (extractor for extractor in predictor.extractors.values() if isinstance(extractor, nn.Module))
        self.extractors = nn.ModuleList(modules)  # so that the trainer moves them to the device
        self._predictor = predictor
        self._folder = folder
        self._progress = progress
        self._annotation = options.annotation
        self._batch_size = options.batch_size
        self._observer = observer
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="encode")
        self._writer: PartWriter | None = None
        self._pending: list[Future[ShardRecord]] = []

    def on_predict_start(self) -> None:
        """Open this process's shard."""
        self._writer = PartWriter(self._folder.shard(self.global_rank))

    def predict_step(self, batch: MaskCutBatch, batch_idx: int) -> int:
        """Find the masks of a batch, write the records of the batch before, and hand the new masks to the threads.

        Returns:
            Number of images; Lightning warns of None.
        """
        found = self._predict(batch)
        self._write()
        records = [self._pool.submit(_failure, name, reason) for name, reason in batch.failures.items()]
        images = zip(found, batch.names, batch.sizes_hw, batch.windows, batch.previews, strict=True)
        for tiles, name, size_hw, windows, preview in images:
            masks = [tile for tile in tiles if tile is not None]
            if len(masks) < len(windows):
                records.append(self._pool.submit(_failure, name, _NO_MEMORY))
            else:
                records.append(self._pool.submit(self._encode, masks, windows, size_hw, preview))
        self._pending = records
        return len(records)

    def on_predict_epoch_end(self) -> None:
        """Write the records of the last batch."""
        self._write()

    def close(self) -> None:
        """End the threads, also after an error; the next run does what is not written then."""
        self._pool.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.close()

    def _predict(self, batch: MaskCutBatch) -> list[list[ImageMasks | None]]:
        """The masks of each image's tiles, of so many tiles at once as there may be images."""
        tile_names = [name for name, windows in zip(batch.names, batch.windows, strict=True) for _ in windows]
        found: list[ImageMasks | None] = []
        for start in range(0, len(tile_names), self._batch_size):
            part = slice(start, start + self._batch_size)
            found += self._predictor.predict(tile_names[part], batch.pixels[part])
        tiles = iter(found)
        return [list(islice(tiles, len(windows))) for windows in batch.windows]

    def _encode(
        self,
        masks: Sequence[ImageMasks],
        windows: Sequence[Window],
        size_hw: tuple[int, int],
        preview: UInt8[np.ndarray, "height width 3"] | None,
    ) -> ShardRecord:
        if len(windows) == 1:
            annotations, dropped = encode_masks(masks[0], size_hw, params=self._annotation)
        else:
            annotations, dropped = encode_tiles(masks, windows, size_hw, params=self._annotation)
        record = ShardRecord(
            file=masks[0].name,
            height=size_hw[0],
            width=size_hw[1],
            annotations=annotations,
            dropped=dict(sum((Counter(tile.dropped) for tile in masks), dropped)),
        )
        self._observer.on_image(masks, record, preview)
        return record

    def _write(self) -> None:
        assert self._writer is not None  # opened when the run started
        records = [future.result() for future in self._pending]
        self._pending = []
        self._writer.append([record for record in records if self._is_new(record)])
        for record in records:
            self.totals["images"] += 1
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
    return ShardRecord(file=name, failure=reason)
