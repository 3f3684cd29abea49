"""Metadata of a run, stored beside each output: commit, versions, hardware and seed."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "torchvision", "lightning", "timm", "hydra-core", "pycocotools", "numpy", "scipy")


def run_metadata(seed: int | None = None) -> dict[str, Any]:
    """Commit, versions, hardware and seed."""
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


def usable_cpus() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
