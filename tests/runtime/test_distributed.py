from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from cutler_pl.runtime.distributed import barrier, global_rank, world_size

_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_single_process_is_rank_0() -> None:
    assert (global_rank(), world_size()) == (0, 1)
    assert barrier() is None


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({"RANK": "5", "LOCAL_RANK": "1", "SLURM_PROCID": "0"}, 5),
        ({"SLURM_PROCID": "3"}, 3),
        ({"LOCAL_RANK": "0"}, 0),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, 0),
    ],
)
def test_rank_is_read_from_the_launcher(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], rank: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert global_rank() == rank


@pytest.mark.parametrize(
    "environment", [{"LOCAL_RANK": "2"}, {"NODE_RANK": "1"}, {"LOCAL_RANK": "0", "NODE_RANK": "1"}]
)
def test_rank_of_lightning_launcher(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert global_rank() != 0


@pytest.mark.usefixtures("process_group")
def test_process_group_counts_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "7")
    assert (global_rank(), world_size()) == (0, 1)
    assert barrier() is None
