"""What this machine and this installation can do: one verdict a line, for people and for bug reports."""

import platform
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.limits import LIMITS
from cutler_pl.runtime.version import VERSION

COSTS = {
    "gpu": "MaskCut on a GPU runs its slower kernels of torch",
    "gpu-cuda12": "as gpu, for drivers of CUDA 12",
    "tracking": "no logger=mlflow, logger=wandb, logger=tensorboard",
    "slurm": "no hydra/launcher=slurm",
    "export": "no cutler export",
    "web": "no cutler demo, no cutler serve",
    "docs": "no building of the documentation",
    "dev": "no running of the tests",
}
_HOSTS = {
    "https://dl.fbaipublicfiles.com": ("CutLER's weights", "fetch them elsewhere and put them into the folder above"),
    "https://huggingface.co": ("DINO's weights", "fetch them elsewhere and give maskcut.features.weights=<file>"),
}
"""What each host has, and the way out where it is not reached."""
_TIMEOUT_SECONDS = 5.0
_WRITTEN_BYTES = 64 << 20


class Verdict(NamedTuple):
    """A line: `ok`, `--` for what is absent and optional, `BAD` for what stops the program."""

    mark: str
    text: str


def main(arguments: Sequence[str]) -> None:
    """Print the verdicts; exit code 1 if one is BAD.

    Raises:
        ConfigError: Settings were given.
    """
    if arguments:
        raise ConfigError(f"cutler doctor takes no settings, found {' '.join(arguments)}")
    bad = 0
    for check in (_versions, _devices, _extras, _weights, _writing, _limits, _network):
        for mark, text in check():
            print(f"{mark:<4}{text}", flush=True)
            bad += mark == "BAD"
    if bad:
        print(f"{bad} of these must be mended first")
        sys.exit(1)


def _versions() -> Iterator[Verdict]:
    installed = "ok" if _is_installed("cutler_pl") else "BAD"
    yield Verdict(installed, f"cutler_pl {VERSION}, Python {platform.python_version()}, {platform.platform()}")
    for requirement in _requirements(extra=None):
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Verdict("BAD", f"{requirement.name}: not installed, {requirement} is needed: pip install cutler_pl")
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Verdict("ok" if fits else "BAD", f"{requirement.name} {found}" + ("" if fits else f", not {requirement}"))


def _devices() -> Iterator[Verdict]:
    import torch  # after the versions, which may say that it is missing

    if not torch.cuda.is_available():
        build = "a CPU build" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}, finds no device"
        yield Verdict("--", f"GPU: none (torch is {build}); everything runs on the CPU, slowly")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Verdict("ok", f"GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    yield Verdict("ok", f"CPU: {torch.get_num_threads()} threads, {platform.machine()}")


def _extras() -> Iterator[Verdict]:
    for extra, cost in COSTS.items():
        absent = [r.name for r in _requirements(extra) if not _is_installed(r.name)]
        if absent:
            yield Verdict("--", f"extra {extra}: without {', '.join(absent)}; {cost}: pip install 'cutler_pl[{extra}]'")
        else:
            yield Verdict("ok", f"extra {extra}")


def _weights() -> Iterator[Verdict]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from cutler_pl.maskcut.released import BACKBONES
    from cutler_pl.weights.hub import is_in_hub_cache
    from cutler_pl.weights.sources import RELEASED, cached_file

    here = [name for name, address in RELEASED.items() if cached_file(address).is_file()]
    folder = cached_file(next(iter(RELEASED.values()))).parent
    yield Verdict("ok" if here else "--", f"released weights in {folder}: {', '.join(here) or 'none yet'}")
    backbones = [name for name, backbone in BACKBONES.items() if is_in_hub_cache(f"timm/{backbone.timm_name}")]
    shown = ", ".join(backbones) or "none yet"
    yield Verdict("ok" if backbones else "--", f"backbones of maskcut= in {HF_HUB_CACHE}: {shown}")


def _writing() -> Iterator[Verdict]:
    folder = Path.cwd()
    try:
        start = time.perf_counter()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_WRITTEN_BYTES))
            file.flush()
        speed = _WRITTEN_BYTES / 2**20 / (time.perf_counter() - start)
    except OSError as error:
        yield Verdict("BAD", f"{folder}: cannot be written ({error.strerror}); go to another folder")
        return
    free = shutil.disk_usage(folder).free / 2**30
    yield Verdict("ok" if free > 1 else "--", f"{folder}: writes {speed:.0f} MiB/s, {free:.0f} GiB free")


def _limits() -> Iterator[Verdict]:
    for limit in LIMITS:
        how = "set in the environment" if limit.is_set else "the default"
        yield Verdict("ok", f"{limit.option}={limit.value()}, {how}: {limit.meaning}")


def _network() -> Iterator[Verdict]:
    for address, (what, way_out) in _HOSTS.items():
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT_SECONDS):
                reached = True
        except urllib.error.HTTPError as error:  # it answers
            error.close()
            reached = True
        except OSError:
            reached = False
        text = f"{address} ({what})"
        yield Verdict("ok", text) if reached else Verdict("--", f"{text}: not reached; {way_out}")


def _requirements(extra: str | None) -> list[Requirement]:
    """What the package needs on this machine, always or for an extra, other extras of its own resolved."""
    found = []
    try:
        texts = distribution("cutler_pl").requires or []
    except PackageNotFoundError:  # a checkout that is not installed
        texts = []
    for text in texts:
        requirement = Requirement(text)
        base = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if extra is None and base:
            found.append(requirement)
        elif extra is not None and not base and requirement.marker and requirement.marker.evaluate({"extra": extra}):
            if requirement.name.replace("-", "_") == "cutler_pl":
                found += [inner for name in sorted(requirement.extras) for inner in _requirements(name)]
            else:
                found.append(requirement)
    return found


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
