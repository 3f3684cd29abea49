"""A name of this run that all of its processes agree on, before there is a process group.

Each process's own clock would give another one on each rank. The name comes from the environment, from the scheduler,
from torchrun, or from rank 0 through the store that torchrun's processes share.
"""

import os
import re
import time
from datetime import timedelta
from functools import cache
from typing import Any

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.distributed import global_rank

RUN_ID = "CUTLER_RUN_ID"
"""Environment variable with the name, where it is not to be found out."""

_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs that hold many runs, as Lightning knows them
_WAIT = timedelta(minutes=10)


def run_id() -> str:
    """The name of this run: of letters, digits, `.`, `_` and `-`; equal on all ranks, and kept by a requeued job.

    Raises:
        ConfigError: The ranks of this run have no common name.
    """
    return _as_name(os.environ.get(RUN_ID) or _scheduled() or _elastic() or _of_rank_zero())


def slurm_job() -> str | None:
    """Id of the SLURM job this process works for; None elsewhere, and in an interactive job."""
    job = os.environ.get("SLURM_JOB_ID")
    return None if os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE else job


def _scheduled() -> str | None:
    if job := slurm_job():
        return f"slurm_{job}"
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ:  # srun in an interactive job
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"
    for variable, scheduler in {"PBS_JOBID": "pbs", "LSB_JOBID": "lsf"}.items():
        if job := os.environ.get(variable):
            return f"{scheduler}_{job}"
    return None


def _elastic() -> str | None:
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name == "none" else f"torchrun_{name}"


def _of_rank_zero() -> str:
    """The clock of rank 0."""
    now = time.strftime("%Y-%m-%d_%H-%M-%S")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ and "RANK" in os.environ:
        return _broadcast(now)
    ranks = ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
    if global_rank() > 0 or any(os.environ.get(rank, "0") != "0" for rank in ranks):
        raise ConfigError(
            f"the processes of this run have no common name, so each would choose another output folder; set "
            f"paths.output_dir=<folder>, or {RUN_ID}=<name> in the environment of all of them"
        )
    return now


def _broadcast(value: str) -> str:
    store = _shared_store()
    if int(os.environ["RANK"]) == 0:  # a run that torchrun has started again keeps its name
        return str(store.compare_set(RUN_ID, "", value).decode())
    store.wait([RUN_ID], _WAIT)
    return str(store.get(RUN_ID).decode())


@cache
def _shared_store() -> Any:
    """The store of all ranks; kept, since rank 0 may serve it."""
    import torch.distributed as dist

    store, _, _ = next(dist.rendezvous("env://", timeout=_WAIT))  # type: ignore[attr-defined]
    return dist.PrefixStore("cutler_pl", store)  # type: ignore[attr-defined]


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip(".") or "run"
