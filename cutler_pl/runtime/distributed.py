"""Rank and world size, read from the launcher's environment before any process group exists."""

import os
import sys
from typing import Any, TypeVar

T = TypeVar("T")


def global_rank() -> int:
    """Rank of this process over all nodes; 0 when there is only one.

    Reads the process group where there is one, else what torchrun (`RANK`), Lightning's own launcher (`LOCAL_RANK`,
    `NODE_RANK`) or srun (`SLURM_PROCID`) set. Before the process group exists, only 0 or not 0 is certain.
    """
    if group := _process_group():
        return int(group.get_rank())
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if "LOCAL_RANK" in os.environ or "NODE_RANK" in os.environ:
        return int(os.environ.get("NODE_RANK", "0")) + int(os.environ.get("LOCAL_RANK", "0"))
    return int(os.environ.get("SLURM_PROCID", "0"))


def world_size() -> int:
    """Number of processes over all nodes, from the process group; 1 without one."""
    group = _process_group()
    return int(group.get_world_size()) if group else 1


def barrier() -> None:
    """Wait for all processes; does nothing without a process group."""
    if group := _process_group():
        group.barrier()


def gather(value: list[T]) -> list[T]:
    """Lists of all processes joined in the order of their ranks, on every process."""
    group = _process_group()
    if not group:
        return list(value)
    parts: list[list[T]] = [[] for _ in range(group.get_world_size())]
    group.all_gather_object(parts, value)
    return [item for part in parts for item in part]


def _process_group() -> Any:
    """`torch.distributed` if a process group exists; torch is not imported for it, which takes seconds."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_available() and dist.is_initialized() else None
