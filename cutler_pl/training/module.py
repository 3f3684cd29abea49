"""The LightningModule: losses in training, predictions in validation and prediction, and what a checkpoint says.

Three deviations from the original: a step whose loss or gradients are not finite leaves the weights as they are (the
original steps on stale gradients), random choices of a step depend on seed, rank and step only, so that a resumed run
equals an uninterrupted one, and a checkpoint says how to build its model again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cutler_pl.errors import ConfigError, TrainingDivergedError
from cutler_pl.models.predictions import Predictions
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.reproducibility import generator
from cutler_pl.training.clipping import all_finite, clip_tensor_norms_, tensor_norms
from cutler_pl.training.running_means import RunningMeans
from cutler_pl.types import Target
from cutler_pl.weights.files import MODEL_CONFIG_KEY

log = get_logger(__name__)

# Pairs; loaders that pin memory make lists of tuples.
TrainBatch = Sequence[Sequence[Tensor] | Sequence[Target]]
EvalBatch = Sequence[Sequence[Any]]


class DetectorModule(L.LightningModule):
    """Trains and runs a detector of `cutler_pl.models`, or any module with the same calls."""

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        model_config: Mapping[str, Any] | None = None,
        seed: int = 0,
        max_nonfinite_steps: int = 10,
    ) -> None:
        """Join a model with the way it is trained.

        Args:
            model: In training `model(images, targets)` gives a dict of losses, else `model(images)` predictions. If
                it has them, `model.predict(images)` gives predictions whose masks are still small, and
                `model.reseed(*key)` starts its random choices anew.
            optimizer: Builds the optimiser from the model; None for a module that only predicts.
            scheduler: Builds the schedule from the optimiser; it is stepped once a step.
            model_config: How to build the model again, from `detector_config`; stored in every checkpoint.
            seed: Seed of the random choices inside a training step.
            max_nonfinite_steps: Training stops after so many steps in a row without a finite loss.
        """
        super().__init__()
        self.model = model
        self.model_config = dict(model_config or {})
        self.seed = seed
        self.max_nonfinite_steps = max_nonfinite_steps
        self.nonfinite_steps = 0
        self.nonfinite_in_a_row = 0
        self._build_optimizer = optimizer
        self._build_scheduler = scheduler
        self._losses_finite: Bool[Tensor, ""] | None = None
        self._last_losses: dict[str, Tensor] = {}
        self._running_means = RunningMeans()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and, stepped every step, its schedule.

        Raises:
            ConfigError: The module was made without an optimiser.
        """
        if self._build_optimizer is None:
            raise ConfigError("training needs an optimizer, and this module was made for prediction only")
        optimizer = self._build_optimizer(self.model)
        if self._build_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._build_scheduler(optimizer), "interval": "step", "frequency": 1},
        }

    def on_train_batch_start(self, batch: TrainBatch, batch_idx: int) -> None:
        """Seed what the model draws in this step, such as which regions it samples."""
        key = (self.seed, self.global_rank, self.global_step, batch_idx % self.trainer.accumulate_grad_batches)
        torch.manual_seed(generator(*key).initial_seed())
        if hasattr(self.model, "reseed"):
            cast(Any, self.model).reseed(*key)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Sum of the losses of a batch; what is logged is each loss's mean over the steps since the last log line."""
        images, targets = batch
        losses: dict[str, Tensor] = self.model(images, targets)
        total = cast(Tensor, sum(losses.values()))
        finite = torch.isfinite(total.detach())
        self._losses_finite = finite if self._losses_finite is None else self._losses_finite & finite
        self._last_losses = {name: loss.detach() for name, loss in losses.items()}
        self._running_means.update({**self._last_losses, "loss": total.detach()})
        if self._logs_after(batch_idx):
            for name, mean in self._running_means.compute().items():
                self.log(f"train/{name}", mean, prog_bar=name == "loss", batch_size=len(images))
        self.log("train/lr", self._learning_rate(), batch_size=len(images))
        return total

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each gradient by itself where the optimiser's groups ask for it, and drop a step that is not finite.

        Lightning calls this between backward and the optimiser's step, with true gradients: under mixed precision the
        loss scaler's factor has been taken off. Dropping means that gradients become None, which every optimiser
        reads as "leave this parameter, and its momentum, alone". All ranks come to the same decision.
        """
        norms = []
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            if not gradients:
                continue
            norms.append(tensor_norms(gradients))
            max_norm = group.get("per_param_clip_norm")
            if max_norm is not None:
                clip_tensor_norms_(gradients, norms[-1], max_norm=max_norm)
        if not self._step_is_finite(norms):
            optimizer.zero_grad(set_to_none=True)
        self.log("train/nonfinite_steps", float(self.nonfinite_steps))

    def validation_step(  # type: ignore[override]  # Lightning hands any output on to the callbacks
        self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> Predictions:
        """Predictions for the images of a batch, in the pixels of each image."""
        return self._predict(batch)

    def predict_step(self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0) -> Predictions:
        """Predictions for the images of a batch, in the pixels of each image."""
        return self._predict(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how to build the model, the count of dropped steps and the running means."""
        checkpoint[MODEL_CONFIG_KEY] = self.model_config
        checkpoint["nonfinite_steps"] = [self.nonfinite_steps, self.nonfinite_in_a_row]
        checkpoint["running_means"] = self._running_means.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the counts and means; make the schedule of an older checkpoint readable."""
        self.nonfinite_steps, self.nonfinite_in_a_row = checkpoint.get("nonfinite_steps", (0, 0))
        self._running_means.load_state_dict(checkpoint.get("running_means", {}), device=self.device)
        for schedule in checkpoint.get("lr_schedulers", ()):
            schedule.setdefault("lr_lambdas", [None] * len(schedule["base_lrs"]))  # written before version 0.2

    def _logs_after(self, batch_idx: int) -> bool:
        """Whether the optimiser steps after this batch, and that step is logged."""
        steps = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        return steps and (self.global_step + 1) % cast(Any, self.trainer).log_every_n_steps == 0

    def _learning_rate(self) -> float:
        """Base learning rate of this step: the lowest of all groups, as heads may have a multiple of it."""
        return min(float(group["lr"]) for optimizer in self.trainer.optimizers for group in optimizer.param_groups)

    def _predict(self, batch: EvalBatch) -> Predictions:
        images, _ = batch
        if not len(images):
            return []
        predict = getattr(self.model, "predict", self.model)
        predictions: Predictions = predict(images)
        return predictions

    def _step_is_finite(self, norms: list[Float[Tensor, " _"]]) -> bool:
        """Decide, with the one wait for the device of a step, whether the optimiser may step; count, warn, give up."""
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        if self._losses_finite is not None:
            finite = self._losses_finite
            self._losses_finite = None
        if norms and not self._gradients_are_scaled():
            # A loss scaler looks for overflow itself, skips the step and lowers its factor: that is no divergence.
            finite = finite & all_finite(torch.cat(norms))
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            agreed = finite.to(torch.int32)
            dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
            finite = agreed.bool()
        if bool(finite):
            self.nonfinite_in_a_row = 0
            return True
        self.nonfinite_steps += 1
        self.nonfinite_in_a_row += 1
        culprits = ", ".join(f"{name}={float(loss):g}" for name, loss in sorted(self._last_losses.items()))
        log.warning("step %d dropped: loss or gradients are not finite (%s)", self.global_step, culprits)
        if self.nonfinite_in_a_row >= self.max_nonfinite_steps:
            raise TrainingDivergedError(
                f"the loss was not finite in {self.nonfinite_in_a_row} steps in a row up to step {self.global_step} "
                f"({culprits}): lower optimizer.lr, lengthen scheduler.warmup_steps or set trainer.precision=32-true, "
                "and resume from the last checkpoint"
            )
        return False

    def _gradients_are_scaled(self) -> bool:
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None
