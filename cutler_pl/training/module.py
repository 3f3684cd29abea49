"""The LightningModule: losses in training, predictions in validation and prediction, checkpoint contents.

Deviations from the original: a step with a non-finite loss or gradient leaves the weights unchanged (the original
steps on stale gradients); random choices depend on the seed, the step and an image's place in the global batch only, so
that a resumed run equals an uninterrupted one, on any number of processes; a checkpoint stores how to build its model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cutler_pl.errors import ConfigError, TrainingDivergedError
from cutler_pl.models.protocol import AnyDetector, CompactPrediction, EncodedPrediction
from cutler_pl.runtime import signals
from cutler_pl.runtime.distributed import world_size
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.seeding import generator
from cutler_pl.training.accumulation import PASSES_KEY, align_batch_progress, ends_step
from cutler_pl.training.carry_over import carry_over
from cutler_pl.training.clipping import clip_tensor_norms_, tensor_norms
from cutler_pl.training.norm_statistics import NormStatistics
from cutler_pl.training.objective import LabelLosses, Objective, StepBatch, reseed
from cutler_pl.training.running_means import RunningMeans
from cutler_pl.types import Target
from cutler_pl.weights.files import MODEL_CONFIG_KEY

log = get_logger(__name__)

RUN_SETTINGS_KEY = "run_settings"
"""Where a checkpoint says with which settings its training ran."""

# Pairs; loaders that pin memory make lists of tuples.
TrainBatch = Sequence[Sequence[Tensor] | Sequence[Target]]
EvalBatch = Sequence[Sequence[Any]]


class DetectorModule(L.LightningModule):
    """Trains and runs a detector of `cutler_pl.models`, or any other that is an `AnyDetector`.

    Args:
        model: The detector, see `models/protocol.py`.
        optimizer: Builds the optimizer from the model; None for a module that only predicts.
        scheduler: Builds the schedule from the optimizer, stepped once per step.
        model_config: How to build the model, from `detector_config`; stored in every checkpoint.
        run_settings: Settings of the run by name, stored in every checkpoint to name changes on resume.
        seed: Seed of the random choices of a training step.
        group_size: Losses are means over groups of so many consecutive images (`data.group_size`); then the model is
            called with it. None: over the images of a process.
        max_nonfinite_steps: Training stops after this many non-finite steps in a row.
        objective: Gives the losses of a step; None: the detector's, with the targets of the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        model_config: Mapping[str, Any] | None = None,
        run_settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        group_size: int | None = None,
        max_nonfinite_steps: int = 10,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.model_config = dict(model_config or {})
        self.run_settings = dict(run_settings or {})
        self.seed = seed
        self.group_size = group_size
        self.max_nonfinite_steps = max_nonfinite_steps
        self.objective = objective or LabelLosses()
        self.nonfinite_steps = self.nonfinite_in_a_row = 0
        self._build_optimizer = optimizer
        self._build_scheduler = scheduler
        self._losses_finite = torch.ones((), dtype=torch.bool)
        self._last_losses: dict[str, Tensor] = {}
        self._running_means = RunningMeans()
        self._norm_statistics: NormStatistics | None = None
        self.stopped_by = 0  # the signal after which all ranks end, once they have agreed
        self._built: tuple[Optimizer, LRScheduler | None] | None = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and schedule; `ConfigError` for a module made without an optimizer."""
        optimizer, scheduler = self._built or self._build()
        self._built = None
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _build(self) -> tuple[Optimizer, LRScheduler | None]:
        if self._build_optimizer is None:
            raise ConfigError("training needs an optimizer, and this module was made for prediction only")
        optimizer = self._build_optimizer(self.model)
        return optimizer, None if self._build_scheduler is None else self._build_scheduler(optimizer)

    def on_train_start(self) -> None:
        """Find the batch normalisations, wherever the strategy has put them."""
        self._norm_statistics = NormStatistics(self.model)

    def on_train_batch_start(self, batch: TrainBatch, batch_idx: int) -> None:
        """Seed the random choices of the step, such as the sampled regions; keep the statistics of before."""
        if self._norm_statistics is not None and batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._norm_statistics.keep()
        keys = self._step_batch(batch, batch_idx).keys
        torch.manual_seed(generator(*keys[0]).initial_seed())
        reseed(self.model, keys)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Sum of the losses; logs the mean of each loss since the last log line."""
        images, _ = batch
        losses, figures = self.objective.losses(self, self._step_batch(batch, batch_idx))
        total = cast(Tensor, sum(losses.values()))
        self._losses_finite = torch.isfinite(total.detach()) & self._losses_finite
        self._last_losses = {name: loss.detach() for name, loss in losses.items()}
        self._running_means.update({**self._last_losses, **figures, "loss": total.detach()})
        due = (self.global_step + 1) % cast(Any, self.trainer).log_every_n_steps == 0
        if due and ends_step(self.trainer, batch_idx):
            for name, mean in self._running_means.compute().items():
                self.log(f"train/{name}", mean, prog_bar=name == "loss", batch_size=len(images))
        # the lowest rate of all groups is the base rate: heads may have a multiple of it
        rates = [float(group["lr"]) for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        self.log("train/lr", min(rates), batch_size=len(images))
        return total

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Clip each gradient by its own norm where its group says so; drop a non-finite step on all ranks.

        Gradients are unscaled here. A dropped step has gradients None: parameters and momentum stay unchanged, and so
        do running statistics of normalisations.
        """
        norms = []
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            if not gradients:
                continue
            norms.append(tensor_norms(gradients))
            if (max_norm := group.get("per_param_clip_norm")) is not None:
                clip_tensor_norms_(gradients, norms[-1], max_norm=max_norm)
        if not self._step_is_finite(norms):
            optimizer.zero_grad(set_to_none=True)
            if self._norm_statistics is not None:
                self._norm_statistics.put_back()
        self.log("train/nonfinite_steps", float(self.nonfinite_steps))

    def predict_step(self, batch: EvalBatch, *_: Any) -> Sequence[CompactPrediction | EncodedPrediction]:
        """Predictions for the images of a batch, in the pixels of each image."""
        images, _metas = batch
        return cast(AnyDetector, self.model).predict(images)

    validation_step = predict_step  # type: ignore[assignment]  # Lightning passes any output to the callbacks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's config, the run's settings, the counts of dropped steps and the running means."""
        checkpoint[MODEL_CONFIG_KEY] = self.model_config
        checkpoint[RUN_SETTINGS_KEY] = self.run_settings
        checkpoint[PASSES_KEY] = self.trainer.accumulate_grad_batches
        checkpoint["nonfinite_steps"] = [self.nonfinite_steps, self.nonfinite_in_a_row]
        checkpoint["running_means"] = self._running_means.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore counts and means; let the settings of optimizer, schedule and accumulation be those of now."""
        align_batch_progress(checkpoint, self.trainer.accumulate_grad_batches)
        self.nonfinite_steps, self.nonfinite_in_a_row = checkpoint.get("nonfinite_steps", (0, 0))
        self._running_means.load_state_dict(checkpoint.get("running_means", {}), device=self.device)
        callbacks: list[L.Callback] = cast(Any, self.trainer).callbacks
        if self.trainer.state.fn == "fit" and not any(isinstance(one, WeightAveraging) for one in callbacks):
            checkpoint["state_dict"] = checkpoint.pop("current_model_state", checkpoint["state_dict"])
        keys = {callback.state_key for callback in callbacks}  # Lightning warns of callbacks that are off now
        checkpoint["callbacks"] = {key: state for key, state in checkpoint.get("callbacks", {}).items() if key in keys}
        if self._build_optimizer is not None:
            self._built = self._build()
            carry_over(checkpoint, *self._built)

    def _step_batch(self, batch: TrainBatch, batch_idx: int) -> StepBatch:
        images, targets = batch
        part = batch_idx % self.trainer.accumulate_grad_batches * self.trainer.world_size + self.global_rank
        place = part * len(images)
        return StepBatch(
            cast(Any, images), cast(Any, targets), self.seed, self.global_step, place, group_size=self.group_size
        )

    def _step_is_finite(self, norms: list[Float[Tensor, " _"]]) -> bool:
        """Whether all ranks may step, with the step's one host–device synchronisation; count and log, or raise."""
        finite, self._losses_finite = self._losses_finite.to(self.device), torch.ones((), dtype=torch.bool)
        if norms and getattr(self.trainer.precision_plugin, "scaler", None) is None:
            # A loss scaler skips an overflowing step itself and lowers its factor: that is no divergence.
            finite = finite & torch.cat(norms).isfinite().all()
        self.stopped_by = signals.requested() or 0
        if world_size() > 1:
            agreed = torch.stack([finite.to(torch.int32), torch.full_like(finite, -self.stopped_by, dtype=torch.int32)])
            torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MIN)
            is_finite, stopped_by = agreed.tolist()
            finite, self.stopped_by = torch.tensor(is_finite), -stopped_by
        if bool(finite):
            self.nonfinite_in_a_row = 0
            return True
        self.nonfinite_steps += 1
        self.nonfinite_in_a_row += 1
        losses = ", ".join(f"{name}={float(loss):g}" for name, loss in sorted(self._last_losses.items()))
        log.warning("step %d dropped: loss or gradients are not finite (%s)", self.global_step, losses)
        if self.nonfinite_in_a_row >= self.max_nonfinite_steps:
            raise TrainingDivergedError(
                f"the loss was not finite in {self.nonfinite_in_a_row} steps in a row up to step {self.global_step} "
                f"({losses}): lower optimizer.lr, lengthen scheduler.warmup_steps or set trainer.precision=32-true"
            )
        return False
