"""Training data: any folder of images with a COCO file, in an endless order that a resumed run takes up where it was.

Copy-paste happens on the device, after the transfer; its draws are named by seed, rank and step. Unreadable images
are replaced, recorded in `failures`, and end the run when they are too many.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader

from cutler_pl.coco.index import InstanceIndex, open_index
from cutler_pl.data.copy_paste import CopyPasteParams, copy_paste
from cutler_pl.data.eval_datamodule import EvalDataModule
from cutler_pl.data.image_io import Failures
from cutler_pl.data.instances import InstanceDataset, TrainBatch, collate, collate_plain
from cutler_pl.data.loader import LoaderWrapper, loader_settings
from cutler_pl.data.sampler import InfiniteBatchSampler, batch_size_per_rank
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError, ImageReadError
from cutler_pl.runtime.distributed import global_rank, world_size
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.reproducibility import generator
from cutler_pl.types import ImageTensor, Target

MAX_FAILED_SHARE = 0.05
"""Largest share of unreadable images among those read, once there are `MIN_FAILURES`, that a run goes on with."""
MIN_FAILURES = 10

_CHECKED_FILES = 200
_COPY_PASTE_STREAM = 1  # keeps the draws of copy-paste apart from those of the views
_WAY_OUT = (
    "set data.images=<folder> data.annotations=<json> to train on any COCO-format data, "
    "or run `bash scripts/quickstart.sh`, which needs no data"
)

_log = get_logger(__name__)


class TrainDataModule(L.LightningDataModule):
    """Images and objects for training, and images for validation on the way if `validation` is given.

    Training steps receive `(images, targets)`: lists of uint8 RGB tensors of different sizes and of their targets.

    Args:
        images: Folder that the file names in the annotations are relative to.
        annotations: COCO JSON.
        batch_size: Images of a step over all ranks together.
        train_sizes: Lengths of the shorter side, one of which is drawn for each image.
        max_size: Cap of the longer side.
        flip_probability: How often an image is mirrored.
        num_workers: Loader processes of each rank, at most one a core; the result does not depend on it.
        seed: Seed of order, views and copy-paste.
        copy_paste: Settings of copy-paste; None for none.
        class_agnostic: Take all categories as one, label 1; else labels count the category ids in ascending order.
        filter_empty: Leave out images without objects.
        max_images: Train on so many of the images only, the first ones; None for all.
        index_dir: Folder of the annotation index; None: beside the JSON, or temporary where that is read-only.
        validation: Images to validate on during training.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        batch_size: int = 16,
        train_sizes: Sequence[int] = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024),
        max_size: int = 1333,
        flip_probability: float = 0.5,
        num_workers: int = 4,
        seed: int = 0,
        copy_paste: CopyPasteParams | None = None,
        class_agnostic: bool = True,
        filter_empty: bool = True,
        max_images: int | None = None,
        index_dir: str | Path | None = None,
        validation: EvalDataModule | None = None,
    ) -> None:
        super().__init__()
        if not train_sizes or min(train_sizes) < 1 or max_size < 1:
            raise ConfigError(f"data.train_sizes={list(train_sizes)} and data.max_size={max_size} must be positive")
        if not 0 <= flip_probability <= 1:
            raise ConfigError(f"data.flip_probability={flip_probability} must lie in 0..1")
        if num_workers < 0:
            raise ConfigError(f"data.num_workers={num_workers} must not be negative")
        if max_images is not None and max_images < 1:
            raise ConfigError(f"data.max_images={max_images} must be positive, or null for all images")
        batch_size_per_rank(batch_size, 1)
        self.images = images
        self.annotations = annotations
        self.batch_size = batch_size
        self.train_sizes = tuple(train_sizes)
        self.max_size = max_size
        self.flip_probability = flip_probability
        self.num_workers = num_workers
        self.seed = seed
        self.copy_paste = copy_paste
        self.class_agnostic = class_agnostic
        self.filter_empty = filter_empty
        self.max_images = max_images
        self.index_dir = index_dir
        self.validation = validation
        if validation is not None:  # Lightning takes a method that is there for a wish to validate
            self.val_dataloader = validation.val_dataloader  # type: ignore[method-assign]
        self.failures = Failures()
        self.next_step = 0
        self._num_read = 0
        self._num_failed = 0
        self._index: InstanceIndex | None = None
        self._sampler: InfiniteBatchSampler | None = None

    @property
    def index(self) -> InstanceIndex:
        """Annotations; built at the first use."""
        if self._index is None:
            self._index = open_index(self.annotations, index_dir=self.index_dir)
        return self._index

    @property
    def category_ids(self) -> list[int]:
        """COCO category id of label 1, 2, …; class-agnostic: [1], as in the original."""
        return [1] if self.class_agnostic else list(self.index.categories)

    @property
    def class_names(self) -> list[str]:
        """Name of label 1, 2, …"""
        return ["fg"] if self.class_agnostic else list(self.index.categories.values())

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.category_ids)

    def check(self) -> None:
        """Find what is wrong with the data before anything expensive is done.

        Raises:
            DatasetNotFoundError: The image folder, the annotation file or too many of the images are missing.
            AnnotationError: The annotations are not COCO, faulty, or hold nothing to train on.
            ConfigError: Images cannot be shared out among the ranks.
        """
        if not Path(self.annotations).is_file():
            raise DatasetNotFoundError(f"no annotation file {self.annotations} (data.annotations); {_WAY_OUT}")
        if not Path(self.images).is_dir():
            raise DatasetNotFoundError(f"no image folder {self.images} (data.images); {_WAY_OUT}")
        batch_size_per_rank(self.batch_size, world_size())
        chosen = self._choose()
        if len(chosen) == 0:
            raise AnnotationError(
                f"{self.annotations}: nothing to train on, none of its {len(self.index)} images has an object; "
                "set data.annotations=<json> to a file with annotations"
            )
        if count := self.index.count_without_mask():
            raise AnnotationError(
                f"{self.annotations}: {count} objects have a box but no segmentation, and training needs masks; "
                "set data.annotations=<json> to a file with masks"
            )
        self._check_files(chosen)
        if self.validation is not None:
            self.validation.check()
        _log.info(
            "training data: %d of %d images with %d objects of %d classes (%s)",
            len(chosen),
            len(self.index),
            self.index.count_objects()[chosen].sum(),
            self.num_classes,
            self.annotations,
        )

    def prepare_data(self) -> None:
        """Build the index, on one process of each machine."""
        self._index = open_index(self.annotations, index_dir=self.index_dir)

    def train_dataloader(self) -> LoaderWrapper[TrainBatch]:
        """Endless batches from the next step on.

        Raises:
            ConfigError: The batch cannot be shared out among the ranks.
        """
        dataset = self._dataset()
        self._sampler = self._make_sampler(dataset, start_step=self.next_step)
        return LoaderWrapper(
            DataLoader(dataset, batch_sampler=self._sampler, collate_fn=collate, **loader_settings(self.num_workers))
        )

    def precise_bn_dataloader(self) -> LoaderWrapper[tuple[list[ImageTensor], list[Target]]]:
        """Endless batches of the same images in the same kinds of views, from the first step on, without copy-paste."""
        dataset = self._dataset()
        sampler = self._make_sampler(dataset, start_step=0)
        return LoaderWrapper(
            DataLoader(dataset, batch_sampler=sampler, collate_fn=collate_plain, **loader_settings(self.num_workers))
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count a training batch and do its copy-paste; other batches pass.

        Raises:
            ImageReadError: Too many images are unreadable.
        """
        if not isinstance(batch, TrainBatch):
            return batch
        self._count(batch)
        self.next_step = batch.step + 1
        if self._sampler is not None:
            self._sampler.start_step = self.next_step
        if self.copy_paste is None:
            return batch.images, batch.targets
        draws = generator(self.seed, _COPY_PASTE_STREAM, batch.step, global_rank())
        return copy_paste(batch.images, batch.targets, self.copy_paste, draws)

    def state_dict(self) -> dict[str, int]:
        """Place in the data."""
        return {"next_step": self.next_step, "batch_size": self.batch_size, "num_images": len(self._choose())}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on from a place in the data."""
        self.next_step = state_dict["next_step"]
        for name, now in (("batch_size", self.batch_size), ("num_images", len(self._choose()))):
            if state_dict[name] != now:
                _log.warning(
                    "resumed with %s %d, interrupted with %d: images come in another order than without interruption",
                    name, now, state_dict[name],
                )  # fmt: skip

    def _choose(self) -> Int64[np.ndarray, " chosen"]:
        chosen = np.flatnonzero(self.index.count_objects()) if self.filter_empty else np.arange(len(self.index))
        return chosen[: self.max_images]

    def _dataset(self) -> InstanceDataset:
        categories = list(self.index.categories)
        return InstanceDataset(
            self.index,
            Path(self.images),
            chosen=self._choose(),
            labels={id_: 1 if self.class_agnostic else 1 + place for place, id_ in enumerate(categories)},
            train_sizes=self.train_sizes,
            max_size=self.max_size,
            flip_probability=self.flip_probability,
            seed=self.seed,
        )

    def _make_sampler(self, dataset: InstanceDataset, *, start_step: int) -> InfiniteBatchSampler:
        sizes_hw = self.index.sizes_hw[dataset.chosen]
        return InfiniteBatchSampler(
            len(dataset),
            batch_size=self.batch_size,
            seed=self.seed,
            rank=global_rank(),
            world_size=world_size(),
            start_step=start_step,
            landscape=sizes_hw[:, 1] > sizes_hw[:, 0],
        )

    def _check_files(self, chosen: Int64[np.ndarray, " chosen"]) -> None:
        """Look for some of the files, evenly spread over the dataset."""
        numbers = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _CHECKED_FILES)).astype(np.int64)]
        paths = [Path(self.images) / self.index.file_names[int(number)] for number in numbers]
        missing = [path for path in paths if not path.is_file()]
        if len(missing) > MAX_FAILED_SHARE * len(paths):
            raise DatasetNotFoundError(
                f"{len(missing)} of {len(paths)} image files that were looked for are missing, such as {missing[0]}; "
                f"set data.images=<folder> to the folder that the file names in {self.annotations} are relative to"
            )
        if missing:
            _log.warning("%d of %d image files looked for are missing: %s", len(missing), len(paths), missing[0])

    def _count(self, batch: TrainBatch) -> None:
        self.failures.add(batch.failures)
        self._num_failed += len(batch.failures)
        self._num_read += len(batch.images) + len(batch.failures)
        too_many = self._num_failed >= MIN_FAILURES and self._num_failed > MAX_FAILED_SHARE * self._num_read
        gap = len(batch.images) < batch_size_per_rank(self.batch_size, world_size())
        if too_many or gap:
            raise ImageReadError(
                f"{self._num_failed} of {self._num_read} training images could not be read, more than "
                f"{MAX_FAILED_SHARE:.0%} or many in a row; the last: {batch.failures[-1].reason}"
            )
