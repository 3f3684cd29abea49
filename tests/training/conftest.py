"""A stand-in detector with the real one's calls, a step-indexed datamodule, and a quiet Trainer on the CPU."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from cutler_pl.models.detections import CompactPrediction
from cutler_pl.runtime.seeding import generator
from cutler_pl.training import DetectorModule
from cutler_pl.training.loggers import Table
from cutler_pl.training.loggers.tracker import LogModel
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr
from cutler_pl.types import Target


class Meta(NamedTuple):
    image_id: int
    file_name: str
    height: int
    width: int


class StandIn(nn.Module):
    """Convolution, batch normalisation and a linear layer; its losses use random numbers, as sampling does."""

    def __init__(self) -> None:
        super().__init__()
        generator_state = torch.random.get_rng_state()
        torch.manual_seed(7)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.score = nn.Linear(4, 1)
        torch.random.set_rng_state(generator_state)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        pooled, scores = self._scores(images)
        wanted = torch.tensor([float(len(target["boxes"])) for target in targets], device=scores.device)
        noise = torch.rand(len(images), device=scores.device)
        return {"loss_cls": ((scores - wanted) ** 2 * (0.5 + noise)).mean(), "loss_mask": pooled.pow(2).mean()}

    def predict(self, images: Sequence[Tensor]) -> list[CompactPrediction]:
        if not images:
            return []
        _, scores = self._scores(images)
        return [self._prediction(image, score) for image, score in zip(images, scores, strict=True)]

    def _scores(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        pixels = torch.stack([image.float() / 255 for image in images])
        pooled = self.norm(self.conv(pixels)).relu().mean(dim=(2, 3))
        return pooled, self.score(pooled).squeeze(1)

    def _prediction(self, image: Tensor, score: Tensor) -> CompactPrediction:
        """The upper half and the left half of the image."""
        height, width = image.shape[1:]
        boxes = torch.tensor([[0, 0, width, height // 2], [0, 0, width // 2, height]], dtype=torch.float32)
        return CompactPrediction(
            boxes=boxes.to(image.device),
            scores=torch.stack([score.sigmoid(), score.sigmoid() / 2]),
            labels=torch.ones(2, dtype=torch.int64, device=image.device),
            mask_probabilities=torch.ones((2, 28, 28), device=image.device),
            size_hw=(height, width),
        )


def make_batch(*key: int, size: int = 2, side: int = 8) -> tuple[list[Tensor], list[Target]]:
    """Random images and targets that depend on the key only."""
    random = generator(*key)
    images, targets = [], []
    for _ in range(size):
        images.append(torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=random))
        count = int(torch.randint(0, 3, (), generator=random))
        targets.append(
            Target(
                boxes=torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(count, 1),
                labels=torch.ones(count, dtype=torch.int64),
                masks=torch.zeros((count, side, side), dtype=torch.bool),
            )
        )
    return images, targets


class _Steps(IterableDataset[Any]):
    def __init__(self, seed: int, start: int, rank: int) -> None:
        self.seed, self.start, self.rank = seed, start, rank

    def __iter__(self) -> Iterator[Any]:
        step = self.start
        while True:
            yield make_batch(self.seed, self.rank, step)
            step += 1


class StandInData(L.LightningDataModule):
    """Endless batches that depend on rank and step; a fixed few for precise batch normalisation and validation."""

    def __init__(self, *, validation: bool = False) -> None:
        super().__init__()
        self.validation = validation
        self.started_at: list[int] = []

    def train_dataloader(self) -> DataLoader[Any]:
        self.started_at.append(self.trainer.global_step)
        return DataLoader(_Steps(1, self.trainer.global_step, self.trainer.global_rank), batch_size=None)

    def precise_bn_dataloader(self) -> DataLoader[Any]:
        return DataLoader(_Steps(2, 0, self.trainer.global_rank), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self.predict_dataloader() if self.validation else []

    def predict_dataloader(self) -> DataLoader[Any]:
        batches = []
        for first in (5, 1):
            images, _ = make_batch(9, first)
            batches.append((images, [Meta(first + i, f"{first + i}.jpg", 8, 8) for i in range(2)]))
        return DataLoader(batches, batch_size=None)


class Recorder(CSVLogger):
    """A tracker that notes what it gets, and how its run ended."""

    def __init__(self, folder: Path, log_model: LogModel = False) -> None:
        super().__init__(folder)
        self.log_model, self.ended = log_model, ""
        self.tables: list[Table] = []
        self.checkpoints: list[str] = []

    def track_figure(self, path: Path, *, step: int) -> None: ...

    def track_table(self, table: Table, *, step: int) -> None:
        self.tables.append(table)

    def track_run(self, folder: Path, metadata: dict[str, Any]) -> None: ...

    def track_checkpoint(self, path: Path) -> None:
        assert path.is_file()
        self.checkpoints.append(path.stem)

    def finalize(self, status: str) -> None:
        self.ended = status


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def stand_in() -> Callable[[], StandIn]:
    return StandIn


@pytest.fixture
def stand_in_data() -> type[StandInData]:
    return StandInData


@pytest.fixture
def batch_of() -> Callable[..., tuple[list[Tensor], list[Target]]]:
    return make_batch


@pytest.fixture
def make_module() -> Callable[..., DetectorModule]:
    """Factory of a module around a stand-in detector, or the model given."""

    def make(
        model: nn.Module | None = None, *, lr: float = 0.05, per_param_clip_norm: float = 1.0, **options: Any
    ) -> DetectorModule:
        return DetectorModule(
            StandIn() if model is None else model,
            optimizer=partial(sgd, lr=lr, weight_decay=1e-4, per_param_clip_norm=per_param_clip_norm),
            scheduler=partial(warmup_multistep_lr, max_steps=8, milestones=[6], warmup_steps=3),
            **options,
        )

    return make


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., L.Trainer]:
    """Factory of a Trainer as `conf/trainer/cpu.yaml` sets it, without bar and logger."""

    def make(**options: Any) -> L.Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": 8,
            "max_epochs": -1,
            "limit_val_batches": 0,
            "val_check_interval": 4,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "logger": False,
            "default_root_dir": tmp_path,
        }
        return L.Trainer(**(settings | options))

    return make
