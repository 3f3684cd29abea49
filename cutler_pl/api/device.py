"""The device of `device="auto"`."""

import torch

from cutler_pl.errors import ConfigError


def choose_device(device: str | torch.device) -> torch.device:
    """A device by name; `auto` is the GPU if there is one, else the CPU.

    Raises:
        ConfigError: There is no such device on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={device!r} is not there ({reason}); choose auto, cpu or cuda") from error
    return chosen
