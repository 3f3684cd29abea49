"""Modules that stand where the networks of a detector stood, and run them elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError, CutlerError
from cutler_pl.models.backends.parts import parts_of
from cutler_pl.models.backends.runtimes import Runtime, Session
from cutler_pl.models.detector import Detector


class RuntimeNetwork(nn.Module):
    """A network of a detector in another runtime: tensors in and out, as the module that it replaces.

    Args:
        session: The network.
        single: Whether it gives one tensor, not several.
    """

    def __init__(self, session: Session, *, single: bool) -> None:
        super().__init__()
        self._session = session
        self._single = single

    def forward(self, x: Tensor) -> Any:
        """The outputs of the network, with as many rows as the input; none of an input without rows."""
        rows = x.shape[0]
        given = x if rows else x.new_zeros((1, *x.shape[1:]))
        arrays = self._session(np.ascontiguousarray(given.float().numpy()))
        tensors = [torch.from_numpy(array)[:rows] for array in arrays]
        return tensors[0] if self._single else tensors


def install_networks(detector: Detector, folder: Path, runtime: Runtime) -> None:
    """Replace the networks of a detector by those of a folder; their weights in PyTorch are given up.

    Raises:
        CheckpointError: A file is damaged.
    """
    for part in list(parts_of(detector)):
        session = _load(runtime, folder / f"{part.name}.onnx")
        detector.set_submodule(part.module, RuntimeNetwork(session, single=len(part.outputs) == 1))


def _load(runtime: Runtime, file: Path) -> Session:
    try:
        return runtime.load(file)
    except CutlerError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{file}: cannot be loaded ({reason}); remove its folder and export the checkpoint again, which backend= "
            "does by itself where exported= is not given"
        ) from error
