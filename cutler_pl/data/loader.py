"""Loaders as plain iterables, which Lightning takes as they are: the order and share of each rank are settled here."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader

T_co = TypeVar("T_co", covariant=True)


class LoaderWrapper(Generic[T_co]):
    """Batches of a `DataLoader`, each handed through a function of the main process.

    Lightning would put samplers of its own into a `DataLoader`, and warn of settings that are meant.

    Args:
        loader: The loader.
        receive: Turns a batch of the loader into what is given out.
    """

    def __init__(self, loader: DataLoader[Any], receive: Callable[[Any], T_co] = lambda batch: batch) -> None:
        self.loader = loader
        self.receive = receive

    def __iter__(self) -> Iterator[T_co]:
        for batch in self.loader:
            yield self.receive(batch)


class SizedStream(LoaderWrapper[T_co]):
    """A stream with an end."""

    def __len__(self) -> int:
        return len(self.loader)


def loader_settings(num_workers: int) -> dict[str, Any]:
    """What all loaders share: no more workers than cores, pinned memory for GPUs, the global random state untouched."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "num_workers": min(num_workers, cores),
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator().manual_seed(0),
    }
