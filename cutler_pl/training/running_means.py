"""Means of losses over all ranks since they were last logged."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cutler_pl.runtime.distributed import world_size


class RunningMeans:
    """Sums and counts by name, on the device, without host–device synchronisation; non-finite values spread."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}

    def update(self, values: Mapping[str, Tensor]) -> None:
        """Add one value per name."""
        for name, value in values.items():
            pair = torch.stack([value.float(), torch.ones_like(value, dtype=torch.float)])
            self._totals[name] = self._totals[name] + pair if name in self._totals else pair

    def compute(self) -> dict[str, Tensor]:
        """Means over all ranks since the last call; every rank calls it in the same step, with the same names."""
        totals, self._totals = self._over_ranks(), {}
        return {name: total / count for name, (total, count) in totals.items()}

    def state_dict(self) -> dict[str, list[float]]:
        """Sum and count over all ranks by name, for a resumed run; every rank calls it in the same step."""
        return {name: pair.tolist() for name, pair in self._over_ranks().items()}

    def load_state_dict(self, state: Mapping[str, Any], *, device: Any) -> None:
        """Restore a `state_dict`, on any number of ranks: each goes on from an equal share."""
        self._totals = {name: torch.tensor(pair, device=device) / world_size() for name, pair in state.items()}

    def _over_ranks(self) -> dict[str, Tensor]:
        if world_size() == 1 or not self._totals:
            return dict(self._totals)
        joined = torch.stack(list(self._totals.values()))
        torch.distributed.all_reduce(joined)
        return dict(zip(self._totals, joined, strict=True))
