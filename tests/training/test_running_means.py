import pytest
import torch
from torch import Tensor

from cutler_pl.training.running_means import RunningMeans


def values(**losses: float) -> dict[str, Tensor]:
    return {name: torch.tensor(loss) for name, loss in losses.items()}


def test_mean_since_last_compute() -> None:
    means = RunningMeans()
    means.update(values(loss=1.0, box=4.0))
    means.update(values(loss=5.0, box=4.0))
    assert means.compute() == values(loss=3.0, box=4.0)
    means.update(values(loss=7.0))
    assert means.compute()["loss"] == 7.0


def test_nan_lasts_until_compute() -> None:
    means = RunningMeans()
    means.update(values(loss=float("nan")))
    means.update(values(loss=1.0))
    assert means.compute()["loss"].isnan()
    means.update(values(loss=1.0))
    assert means.compute()["loss"] == 1.0


def test_restored_means_go_on() -> None:
    first, second = RunningMeans(), RunningMeans()
    for loss in (1.0, 2.0, 3.0):
        first.update(values(loss=loss))
    second.load_state_dict(first.state_dict(), device="cpu")
    for means in (first, second):
        means.update(values(loss=6.0))
    assert second.compute()["loss"] == pytest.approx(3.0)
    assert first.compute()["loss"] == 3.0
