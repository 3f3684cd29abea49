"""Rank and world size, read from the launcher's environment before any process group exists.

Without torch loaded there is no process group; asking for the rank does not load it.
"""

import os
import sys
from typing import Any, TypeVar

T = TypeVar("T")


def global_rank() -> int:
    """Rank of this process over all nodes; 0 when there is only one.

    Without a process group, it is what torchrun (`RANK`), Lightning's own launcher (`LOCAL_RANK`, `NODE_RANK`) or srun
    (`SLURM_PROCID`) set; then only 0 or not 0 is certain.
    """
    if (dist := _process_group()) is not None:
        return int(dist.get_rank())
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if "LOCAL_RANK" in os.environ or "NODE_RANK" in os.environ:
        return int(os.environ.get("NODE_RANK", "0")) + int(os.environ.get("LOCAL_RANK", "0"))
    return int(os.environ.get("SLURM_PROCID", "0"))


def world_size() -> int:
    """Number of processes over all nodes, from the process group; 1 without one."""
    dist = _process_group()
    return 1 if dist is None else int(dist.get_world_size())


def barrier() -> None:
    """Wait for all processes; does nothing without a process group."""
    if (dist := _process_group()) is not None:
        dist.barrier()


def gather(value: list[T]) -> list[T]:
    """Lists of all processes joined in the order of their ranks, on every process."""
    if (dist := _process_group()) is None:
        return list(value)
    parts: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, value)
    return [item for part in parts for item in part]


def _process_group() -> Any:
    """The module torch.distributed where it has a process group, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None
