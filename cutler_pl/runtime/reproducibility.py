"""What is needed to repeat a run: seeds, and a record of code, versions and hardware beside each output."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "torchvision", "lightning", "timm", "hydra-core", "pycocotools", "numpy", "scipy")


def generator(*key: int) -> torch.Generator:
    """CPU random generator for a key such as (seed, rank, step): equal keys give equal streams, on every machine."""
    state = 0x9E3779B97F4A7C15
    for part in key:  # splitmix64, so that neighbouring keys give unrelated seeds
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator().manual_seed(state & 0x7FFFFFFFFFFFFFFF)


def run_metadata(seed: int | None = None) -> dict[str, Any]:
    """Commit, versions, hardware and seed, to be written beside every output."""
    from cutler_pl.runtime.version import VERSION

    return {
        "cutler_pl": VERSION,
        "commit": _commit(),
        "seed": seed,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _commit() -> str:
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)  # or it would name the project around a `.venv`
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        return "unknown (no git checkout)"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
