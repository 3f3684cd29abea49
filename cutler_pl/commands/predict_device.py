"""Device and precision of a prediction: `device` and `half` are short for settings of `trainer`."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from omegaconf import DictConfig, open_dict

from cutler_pl.api.device import choose_device
from cutler_pl.errors import ConfigError

_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
_FULL = ("32-true", "32")


def apply_device(cfg: DictConfig) -> None:
    """Set `trainer` as `device` and `half` say.

    Raises:
        ConfigError: There is no such device.
    """
    if cfg.device is not None:
        device = choose_device(str(cfg.device))
        with open_dict(cfg):
            cfg.trainer.accelerator = {"cuda": "gpu"}.get(device.type, device.type)
            cfg.trainer.devices = 1 if device.type != "cuda" else [device.index or 0]
    if cfg.half:
        on_cpu = device_of(cfg).type == "cpu"
        cfg.trainer.precision = "bf16-mixed" if on_cpu else "16-mixed"


def device_of(cfg: DictConfig) -> torch.device:
    """The one device that `trainer` stands for.

    Raises:
        ConfigError: There is no such device on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    asked, devices = cfg.trainer.accelerator, cfg.trainer.devices
    names = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}.get(asked, (asked,))
    kind = next((name for name in names if there.get(name, name == "cpu")), None)
    if kind is None:
        raise ConfigError(f"this machine cannot run trainer.accelerator={asked}; try trainer=cpu")
    if kind != "cuda":
        return torch.device(kind)
    number = 0 if isinstance(devices, int | str) else int(devices[0])
    if number >= torch.cuda.device_count():
        raise ConfigError(f"trainer.devices=[{number}]: this machine has {torch.cuda.device_count()} GPUs, from 0")
    return torch.device(kind, number)


def autocast_of(cfg: DictConfig, device: torch.device) -> AbstractContextManager[Any]:
    """What `trainer.precision` stands for.

    Raises:
        ConfigError: It is none of those of prediction.
    """
    precision = str(cfg.trainer.precision)
    if precision in _FULL:
        return nullcontext()
    if precision not in _AUTOCAST:
        raise ConfigError(f"trainer.precision={precision}: expected one of {', '.join((_FULL[0], *_AUTOCAST))}")
    return torch.autocast(device.type, dtype=_AUTOCAST[precision])


def computes_bfloat16(cfg: DictConfig, device: torch.device) -> bool:
    """Whether `trainer.precision` asks a CPU for bfloat16.

    Raises:
        ConfigError: This CPU has no instructions for it and would emulate it.
    """
    if device.type != "cpu" or str(cfg.trainer.precision) != "bf16-mixed":
        return False
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        asked = "half=true" if cfg.get("half") else "trainer.precision=bf16-mixed"
        raise ConfigError(
            f"{asked}: this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX) and would be slower; leave it out"
        )
    return True
