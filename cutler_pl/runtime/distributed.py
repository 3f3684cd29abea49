"""Which process of how many this is, read from the launcher's environment before any process group exists."""

import os

import torch.distributed as dist


def global_rank() -> int:
    """Rank of this process over all nodes; 0 when there is only one.

    Reads the process group where there is one, else what torchrun (`RANK`) or srun (`SLURM_PROCID`) set.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def world_size() -> int:
    """Number of processes over all nodes, from the process group; 1 without one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def barrier() -> None:
    """Wait for all processes; does nothing without a process group."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
