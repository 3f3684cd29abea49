"""Precise batch normalisation: mean and variance of each channel over many batches with the current weights.

Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", section 3. The original does so once, at the end; here
every evaluation sees such statistics.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from math import ceil
from typing import Any, TypeVar, cast

import lightning as L
import torch
from jaxtyping import Float64
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.distributed import world_size
from cutler_pl.runtime.logging import get_logger, is_terminal
from cutler_pl.runtime.ranges import Count, Share, check_arguments
from cutler_pl.training.callbacks.ema_weights import averaged_weights
from cutler_pl.training.callbacks.throughput import Throughput
from cutler_pl.types import Target

log = get_logger(__name__)
Batch = TypeVar("Batch")
_LINE_SECONDS = 10.0


class PreciseBatchNorm(L.Callback):
    """Measures the statistics every `every_n_steps` steps, at the last step, and before any other validation.

    It runs before the checkpoint of the step: with the interval of validation, a checkpoint holds what its validation
    saw. Batches come from the datamodule's `precise_bn_dataloader()`: training images without copy-paste.

    Args:
        num_batches: Batches per rank.
        every_n_steps: Interval in steps, that of validation; None for validations and the end only.
        max_share: At most so many batches per step of an interval, so that a short run does not measure longer than it
            trains; None for `num_batches` always.

    Raises:
        ConfigError: A number is below 1.
    """

    @check_arguments("callbacks.precise_bn.")
    def __init__(
        self, *, num_batches: Count = 200, every_n_steps: Count | None = None, max_share: Share | None = None
    ) -> None:
        self.num_batches = num_batches
        self.every_n_steps = every_n_steps
        self.max_share = max_share
        self._measured_at: int | None = None

    def setup(self, *_: Any, **__: Any) -> None:
        """Begin with nothing measured."""
        self._measured_at = None

    def state_dict(self) -> dict[str, int | None]:
        """The step of the statistics."""
        return {"measured_at": self._measured_at}

    def load_state_dict(self, state_dict: Mapping[str, int | None]) -> None:
        """Know which step the statistics of a checkpoint are of."""
        self._measured_at = state_dict["measured_at"]

    def batches_at(self, step: int) -> int:
        """Batches to measure at a step: not more than `max_share` allows for the interval before it."""
        if self.max_share is None:
            return self.num_batches
        since = step - (self._measured_at or 0)
        interval = max(since, min(self.every_n_steps or step, step))  # the last one of a training may be shorter
        return max(1, min(self.num_batches, ceil(self.max_share * interval)))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Measure at the interval and at the last step."""
        step = trainer.global_step
        due = self.every_n_steps is not None and step > 0 and step % self.every_n_steps == 0
        if due or step == trainer.max_steps:
            self._measure(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure before a validation within training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure where training ends early."""
        self._measure(trainer, pl_module)

    def _measure(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._measured_at == trainer.global_step:
            return
        num_batches, self._measured_at = self.batches_at(trainer.global_step), trainer.global_step
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

        capped = f" (max_share of the steps, of {self.num_batches})" if num_batches < self.num_batches else ""
        log.info("measuring batch normalisation at step %d, batches: %d%s", trainer.global_step, num_batches, capped)
        batches = _with_progress(datamodule.precise_bn_dataloader(), num_batches, quiet=not trainer.is_global_zero)
        with trainer.precision_plugin.train_step_context(), averaged_weights(trainer, pl_module):
            used = update_statistics(model, batches, forward, num_batches=num_batches)
        seconds = time.perf_counter() - started
        message = "batch normalisation measured at step %d, batches of each process: %d, %.1f s"
        log.info(message, trainer.global_step, used, seconds)
        for callback in cast(Any, trainer).callbacks:
            if isinstance(callback, Throughput):
                callback.leave_out(seconds)


def _with_progress(batches: Iterable[Batch], total: int, *, quiet: bool) -> Iterator[Batch]:
    """The first batches, with a bar in a terminal, else with a line every ten seconds."""
    if is_terminal(sys.stderr):
        yield from Tqdm(islice(batches, total), total=total, desc="batch normalisation", leave=False, disable=quiet)
        return
    said = time.perf_counter()
    for number, batch in enumerate(islice(batches, total)):
        if time.perf_counter() - said > _LINE_SECONDS:
            said = time.perf_counter()
            log.info("batch normalisation: %d of %d batches", number, total)
        yield batch


def run_normalised_part(model: nn.Module, images: Sequence[Tensor], targets: Sequence[Target]) -> None:
    """Run the part of a model's training forward pass with batch normalisations: the backbone, if only it has any."""
    backbone, batch = getattr(model, "backbone", None), getattr(model, "batch", None)
    if backbone is not None and batch is not None and set(_layers(model)) <= set(_layers(backbone)):
        backbone(batch(images).pixels)
    else:
        model(images, targets)


@torch.no_grad()
def update_statistics(
    model: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], object], *, num_batches: int
) -> int:
    """Replace mean and unbiased variance of every batch normalisation by those over all positions of some batches.

    Momentum, batch counts, modes and random number generators stay unchanged.

    Args:
        model: The model; layers without running statistics are skipped.
        batches: Batches.
        forward: Runs the model on a batch, as in training.
        num_batches: Largest number of batches, the same on every rank.

    Returns:
        Number of batches used; 0 for a model without such a layer.

    Raises:
        ConfigError: There are no batches.
    """
    layers = _layers(model)
    if not layers:
        return 0
    moments = [_Moments(layer) for layer in layers]
    hooks = [moment.layer.register_forward_pre_hook(partial(_observe, moment)) for moment in moments]
    used = 0
    try:
        with _temporary_training_mode(model, layers), torch.random.fork_rng(devices=_cuda_devices(model)):
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
        self, count: Float64[Tensor, ""], mean: Float64[Tensor, " channels"], squares: Float64[Tensor, " channels"]
    ) -> None:
        """Join another sample's moments, without the cancellation of sums of squares (Chan, Golub and LeVeque 1979)."""
        total = self.count + count
        share = count / total.clamp(min=1.0)
        difference = mean - self.mean
        self.mean = self.mean + difference * share
        self.squares = self.squares + squares + difference**2 * self.count * share
        self.count = total

    def reduce_over_ranks(self) -> None:
        if world_size() == 1:
            return
        own = torch.cat([self.count.reshape(1), self.mean, self.squares])
        gathered = [torch.empty_like(own) for _ in range(world_size())]
        torch.distributed.all_gather(gathered, own)
        self.count, self.mean, self.squares = self.count * 0, self.mean * 0, self.squares * 0
        channels = self.layer.num_features
        for packed in gathered:
            self.add(packed[0], packed[1 : 1 + channels], packed[1 + channels :])

    def store(self) -> None:
        if self.layer.running_mean is None or self.layer.running_var is None or not bool(self.count > 0):
            return  # a layer that the forward pass did not reach stays unchanged
        self.layer.running_mean.copy_(self.mean)
        self.layer.running_var.copy_(self.squares / (self.count - 1).clamp(min=1.0))


def _observe(moments: _Moments, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    (features,) = arguments
    dims = [dim for dim in range(features.ndim) if dim != 1]
    variance, mean = torch.var_mean(features.detach().float(), dim=dims, correction=0)
    count = torch.full_like(moments.count, features.numel() // features.shape[1])
    moments.add(count, mean.double(), variance.double() * count)


@contextmanager
def _temporary_training_mode(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Training mode with frozen running statistics; restores everything."""
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
