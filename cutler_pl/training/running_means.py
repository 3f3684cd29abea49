"""Means of losses over all ranks since they were last logged."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric


class RunningMeans:
    """One `torchmetrics.MeanMetric` per name, without host–device synchronisation; non-finite values spread."""

    def __init__(self) -> None:
        self._metrics: dict[str, MeanMetric] = {}

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Add one value per name."""
        for name, value in values.items():
            self._metric(name, value.device).update(value)

    def compute(self) -> dict[str, Tensor]:
        """Means since the last call; every rank calls it in the same step."""
        means = {name: metric.compute() for name, metric in self._metrics.items() if metric.update_called}
        for metric in self._metrics.values():
            metric.reset()
        return means

    def state_dict(self) -> dict[str, list[float]]:
        """Sum and count by name, for a resumed run."""
        return {name: [float(m.mean_value), float(m.weight)] for name, m in self._metrics.items()}

    def load_state_dict(self, state: Mapping[str, Any], *, device: Any) -> None:
        """Restore a `state_dict`."""
        for name, (total, count) in state.items():
            metric = self._metric(name, device)
            metric.reset()
            if count:
                metric.update(torch.tensor(total / count, device=device).expand(int(count)))

    def _metric(self, name: str, device: Any) -> MeanMetric:
        if name not in self._metrics:  # a NaN check would synchronise host and device
            self._metrics[name] = MeanMetric(nan_strategy="disable").to(device)
        return self._metrics[name]
