"""Batch normalisation statistics measured over many batches instead of remembered from the last few.

The running mean and variance that training leaves behind are exponential averages over changing weights. Before an
evaluation, and at the end, they are replaced by the mean and variance of each channel over all positions of some
hundred batches, with the weights as they are (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", section 3). The
original does so once, at the end; here every evaluation sees such statistics.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

import lightning as L
import torch
import torch.distributed as dist
from jaxtyping import Float64
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.types import Target

log = get_logger(__name__)
Batch = TypeVar("Batch")


class PreciseBatchNorm(L.Callback):
    """Measures the statistics every `every_n_steps` steps, at the last step, and before any other validation.

    Every so many steps means: after the step and before the checkpoint of that step is written. With the interval of
    validation, a checkpoint holds exactly what its validation saw, and a run resumed from it goes on alike.
    The datamodule's `precise_bn_dataloader()` gives the batches: training images, without copy-paste.
    """

    def __init__(self, *, num_batches: int = 200, every_n_steps: int | None = None) -> None:
        """Set how much is measured, and when.

        Args:
            num_batches: Batches of each rank.
            every_n_steps: Interval in steps, that of validation; None for the end, and before validations, only.

        Raises:
            ConfigError: A number is below 1.
        """
        if num_batches < 1 or (every_n_steps is not None and every_n_steps < 1):
            raise ConfigError(
                f"precise batch normalisation needs at least 1 batch and an interval of at least 1 step, found "
                f"num_batches={num_batches}, every_n_steps={every_n_steps}"
            )
        self.num_batches = num_batches
        self.every_n_steps = every_n_steps
        self._measured_at: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier run."""
        self._measured_at = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if the step is one of the interval or the last one."""
        step = trainer.global_step
        due = self.every_n_steps is not None and step > 0 and step % self.every_n_steps == 0
        if due or step == trainer.max_steps:
            self._measure(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure before a validation within training that no measurement at its step has gone before."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure where training ends before its last planned step."""
        self._measure(trainer, pl_module)

    def _measure(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._measured_at == trainer.global_step:
            return
        self._measured_at = trainer.global_step
        datamodule = cast(Any, trainer).datamodule
        if not hasattr(datamodule, "precise_bn_dataloader"):
            raise ConfigError(
                "precise batch normalisation needs a datamodule with precise_bn_dataloader(): pass one to fit(), or "
                "switch the callback off by callbacks.precise_bn=null"
            )
        model = cast(nn.Module, pl_module.model)
        started = time.perf_counter()

        def forward(batch: Any) -> None:
            images, targets = move_data_to_device(batch, pl_module.device)
            run_normalised_part(model, images, targets)

        with trainer.precision_plugin.train_step_context():
            used = update_statistics(model, datamodule.precise_bn_dataloader(), forward, num_batches=self.num_batches)
        log.info(
            "batch normalisation measured at step %d: %d batches on each rank, %.1f s",
            trainer.global_step,
            used,
            time.perf_counter() - started,
        )


def run_normalised_part(model: nn.Module, images: Sequence[Tensor], targets: Sequence[Target]) -> None:
    """Run as much of a model's training forward pass as feeds its batch normalisations.

    In this package's detectors that is the backbone (heads have none), at a third of the cost of all losses.
    """
    backbone, batch = getattr(model, "backbone", None), getattr(model, "batch", None)
    if backbone is not None and batch is not None and set(_layers(model)) <= set(_layers(backbone)):
        backbone(batch(images).pixels)
    else:
        model(images, targets)


@torch.no_grad()
def update_statistics(
    model: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], object], *, num_batches: int
) -> int:
    """Replace running mean and variance of every batch normalisation by those over some batches.

    All positions of all batches, on all ranks, count alike; the variance is the unbiased one. Momentum, the counts of
    batches seen, the mode of the model and the state of the random number generators are as before.

    Args:
        model: The model; layers that keep no running statistics are left alone.
        batches: At most `num_batches` are taken.
        forward: Runs the model on a batch, as in training.
        num_batches: Number of batches to take; every rank must have equally many.

    Returns:
        Batches taken; 0 if the model has no such layer.

    Raises:
        ConfigError: There are no batches.
    """
    layers = _layers(model)
    if not layers:
        return 0
    moments = [_Moments(layer) for layer in layers]
    hooks = [
        layer.register_forward_pre_hook(partial(_observe, moment))
        for layer, moment in zip(layers, moments, strict=True)
    ]
    used = 0
    try:
        with _training_without_traces(model, layers), torch.random.fork_rng(devices=_cuda_devices(model)):
            for batch in islice(batches, num_batches):
                forward(batch)
                used += 1
    finally:
        for hook in hooks:
            hook.remove()
    if used == 0:
        raise ConfigError("precise batch normalisation found no batch: the training data gives none")
    for moment in moments:
        moment.reduce_over_ranks()
        moment.store()
    return used


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


class _Moments:
    """Count, mean and sum of squared differences of each channel of one layer, in float64."""

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer = layer
        device = next(layer.buffers()).device
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.mean = torch.zeros(layer.num_features, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.mean)

    def add(
        self,
        count: Float64[Tensor, ""],
        mean: Float64[Tensor, " channels"],
        squares: Float64[Tensor, " channels"],
    ) -> None:
        """Join another sample's moments (Chan, Golub and LeVeque 1979): no digits are lost as in sums of squares."""
        total = self.count + count
        share = count / total.clamp(min=1.0)
        difference = mean - self.mean
        self.mean = self.mean + difference * share
        self.squares = self.squares + squares + difference**2 * self.count * share
        self.count = total

    def reduce_over_ranks(self) -> None:
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return
        own = torch.cat([self.count.reshape(1), self.mean, self.squares])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        self.count, self.mean, self.squares = self.count * 0, self.mean * 0, self.squares * 0
        channels = self.layer.num_features
        for packed in gathered:
            self.add(packed[0], packed[1 : 1 + channels], packed[1 + channels :])

    def store(self) -> None:
        if self.layer.running_mean is None or self.layer.running_var is None or not bool(self.count > 0):
            return  # a layer that the forward pass did not reach keeps what it has
        self.layer.running_mean.copy_(self.mean)
        self.layer.running_var.copy_(self.squares / (self.count - 1).clamp(min=1.0))


def _observe(moments: _Moments, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    (features,) = arguments
    dims = [dim for dim in range(features.ndim) if dim != 1]
    variance, mean = torch.var_mean(features.detach().float(), dim=dims, correction=0)
    count = torch.full_like(moments.count, features.numel() // features.shape[1])
    moments.add(count, mean.double(), variance.double() * count)


@contextmanager
def _training_without_traces(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Put the model in training mode while its running statistics stand still; afterwards all is as before."""
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    seen = [None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone() for layer in layers]
    try:
        model.train()
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum, count in zip(layers, momenta, seen, strict=True):
            layer.momentum = momentum
            if count is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(count)
        for module, mode in modes:
            module.training = mode


def _cuda_devices(model: nn.Module) -> list[int]:
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    return [device.index for device in devices if device.index is not None]
