"""Loaders as plain iterables, since Lightning would put samplers of its own into a `DataLoader`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from cutler_pl.runtime.environment import usable_cpus
from cutler_pl.runtime.loader_process import in_loader_process
from cutler_pl.runtime.ranges import Count, check_fields

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class LoaderParams:
    """Settings of the training loader.

    Args:
        batch_size: Images per forward pass over all ranks together.
        num_workers: Processes per rank.
        group_size: Consecutive images of the global batch that copy-paste draws its partners from.
    """

    batch_size: Count
    num_workers: int
    group_size: Count = 2

    def __post_init__(self) -> None:
        check_fields(self, "data.")


class EndlessLoader(Generic[T_co]):
    """Batches of a `DataLoader` that is built for each iteration, so that it can start where the last one ended."""

    def __init__(self, build: Callable[[], DataLoader[Any]]) -> None:
        self.build = build

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.build())


class SizedLoader(Generic[T_co]):
    """Batches of a `DataLoader`, each passed through a function in the main process."""

    def __init__(self, loader: DataLoader[Any], finish: Callable[[Any], T_co]) -> None:
        self.loader = loader
        self.finish = finish

    def __iter__(self) -> Iterator[T_co]:
        return map(self.finish, self.loader)

    def __len__(self) -> int:
        return len(self.loader)


def loader_settings(num_workers: int) -> dict[str, Any]:
    """What all loaders share: no more workers than cores, pinned memory for GPUs, the global random state
    untouched, silence on signals."""
    return {
        "num_workers": min(num_workers, usable_cpus()),
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator().manual_seed(0),
        "worker_init_fn": in_loader_process,
    }


def sendable_zeros(*shape: int) -> UInt8[Tensor, "..."]:
    """Zeros that a loader process sends without a copy: in memory that it shares with its parent, as torch's own
    collation allocates."""
    size = math.prod(shape)
    if size == 0 or get_worker_info() is None:
        return torch.zeros(shape, dtype=torch.uint8)
    storage: torch.UntypedStorage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
