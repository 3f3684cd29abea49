"""Training batches in an endless order that a resumed run continues where it was interrupted.

Augmentation runs on the device, after the transfer. Unreadable images are replaced, recorded in `failures`, and end
the run when they are too many.
"""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from cutler_pl.coco.failures import Failures
from cutler_pl.data.augmentation import BatchAugmentation
from cutler_pl.data.eval_datamodule import EvalDataModule
from cutler_pl.data.image_datamodule import ImagesAndMeta
from cutler_pl.data.instances import InstanceBatch, InstanceDataset, collate, collate_plain
from cutler_pl.data.loader import EndlessLoader, LoaderParams, SizedLoader, loader_settings
from cutler_pl.data.sampler import InfiniteBatchSampler, batch_size_per_rank
from cutler_pl.data.training_set import MAX_FAILURE_RATE, TrainingSet
from cutler_pl.data.transforms import TrainTransformParams, load_kernels
from cutler_pl.errors import AnnotationError, DatasetNotFoundError, ImageReadError
from cutler_pl.runtime.distributed import global_rank, world_size
from cutler_pl.runtime.logging import get_logger
from cutler_pl.types import ImageTensor, Target

MIN_FAILURES = 10
"""Fewer unreadable images than this never end a run."""

_log = get_logger(__name__)


class TrainDataModule(L.LightningDataModule):
    """Images and objects for training, and images for validation during training if `validation` is given.

    Training steps receive `(images, targets)`: lists of uint8 RGB tensors of different sizes and of their targets.

    Args:
        training_set: Images and annotations.
        transforms: Random resize and flip in the loader.
        loader: Batch size, group size and workers; the result does not depend on the latter.
        augment: Augmentation on the device.
        seed: Seed of order, transforms and augmentation.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        *,
        transforms: TrainTransformParams,
        loader: LoaderParams,
        augment: BatchAugmentation | None = None,
        validation: EvalDataModule | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.training_set = training_set
        self.dataset = InstanceDataset(training_set, transforms, seed=seed)
        self.loader = loader
        self.augment = augment or BatchAugmentation()
        self.validation = validation
        self.seed = seed
        self.failures = Failures()
        self.next_step = self.next_image = self._num_read = self._num_failed = 0

    def check(self) -> None:
        """Check images, annotations (see `TrainingSet.check`) and batch size before anything expensive is done.

        Raises:
            ConfigError: A batch cannot be split evenly over the ranks.
        """
        batch_size_per_rank(self.loader.batch_size, world_size())
        self.training_set.check()
        if self.validation is not None:
            try:
                self.validation.check(settings="data.validation.")
            except (DatasetNotFoundError, AnnotationError) as error:
                way_out = "data/validation=none trains without validation"
                raise type(error)(f"validation during training: {error}; {way_out}") from error

    def prepare_data(self) -> None:
        """Build the index, on one process per machine."""
        len(self.training_set.index)

    def train_dataloader(self) -> EndlessLoader[InstanceBatch]:
        """Endless batches; each iteration starts at `next_step`."""
        per_rank, group_size = batch_size_per_rank(self.loader.batch_size, world_size()), self.loader.group_size
        if per_rank % group_size and global_rank() == 0:
            _log.warning(
                "the %d images of a process are no multiple of data.group_size=%d and are one group: copy-paste and "
                "losses depend on the number of processes", per_rank, group_size,
            )  # fmt: skip
        return EndlessLoader(lambda: self._loader(collate, start_step=self.next_step, start_image=self.next_image))

    def precise_bn_dataloader(self) -> EndlessLoader[tuple[list[ImageTensor], list[Target]]]:
        """Endless batches of the same images from the first step on, resized and flipped, without augmentation."""
        return EndlessLoader(lambda: self._loader(collate_plain, start_step=0, start_image=0))

    @property
    def val_dataloader(self) -> Callable[[], SizedLoader[ImagesAndMeta]] | None:  # type: ignore[override]
        """Loader of the validation images; None, which Lightning takes for a missing method, without them."""
        return None if self.validation is None else self.validation.val_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count and augment a training batch; other batches pass.

        Raises:
            ImageReadError: Too many images are unreadable.
        """
        if not isinstance(batch, InstanceBatch):
            return batch
        self._count(batch)
        if batch.place // self.loader.batch_size == self._accumulate - 1:  # the last batch of its step
            self.next_step = batch.step + 1
            self.next_image += self._images_per_step
        where = {"seed": self.seed, "step": batch.step, "place": batch.place}
        return self.augment(batch.images, batch.targets, **where, group_size=self.loader.group_size)

    def state_dict(self) -> dict[str, int]:
        """Position in the data: the step and the image that come next, images per step and of the dataset."""
        position = {"next_step": self.next_step, "next_image": self.next_image}
        return position | {"batch_size": self._images_per_step, "num_images": len(self.dataset)}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Continue from a position in the data, whatever the number of ranks and of accumulated batches is now."""
        now = self.state_dict()
        self.next_step = state_dict["next_step"]
        # checkpoints until 2026-11 have no next_image, and were written without a change of the batch size
        self.next_image = state_dict.get("next_image", self.next_step * state_dict["batch_size"])
        if (before := state_dict["batch_size"]) != now["batch_size"]:
            message = "steps of %d images from here on, of %d before: the sequence of images goes on with the next one"
            _log.info(message, now["batch_size"], before)
        if (before := state_dict["num_images"]) != now["num_images"]:
            message = "resumed with %d images, interrupted with %d: their order is another than without interruption"
            _log.warning(message, now["num_images"], before)

    @property
    def _accumulate(self) -> int:
        """Forward passes per step."""
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

    @property
    def _images_per_step(self) -> int:
        return self.loader.batch_size * self._accumulate

    def _loader(self, collate_fn: Any, *, start_step: int, start_image: int) -> DataLoader[Any]:
        sizes_hw = self.training_set.index.sizes_hw[self.training_set.chosen]
        sampler = InfiniteBatchSampler(
            len(self.dataset),
            batch_size=self.loader.batch_size,
            seed=self.seed,
            rank=global_rank(),
            world_size=world_size(),
            accumulate=self._accumulate,
            start_step=start_step,
            start_image=start_image,
            landscape=sizes_hw[:, 1] > sizes_hw[:, 0],
        )
        settings = loader_settings(self.loader.num_workers)
        if settings["num_workers"]:
            load_kernels()
        return DataLoader(self.dataset, batch_sampler=sampler, collate_fn=collate_fn, **settings)

    def _count(self, batch: InstanceBatch) -> None:
        self.failures.add(batch.failures)
        self._num_failed += len(batch.failures)
        self._num_read += len(batch.images) + len(batch.failures)
        too_many = self._num_failed >= MIN_FAILURES and self._num_failed > MAX_FAILURE_RATE * self._num_read
        incomplete = len(batch.images) < batch_size_per_rank(self.loader.batch_size, world_size())
        if too_many or incomplete:
            raise ImageReadError(
                f"{self._num_failed} of {self._num_read} training images could not be read, more than "
                f"{MAX_FAILURE_RATE:.0%} or many in a row; the last: {batch.failures[-1].reason}"
            )
