"""The recorded cuts, and kernels of GPUs on the CPU."""

import pytest
from cuda_twin import CpuTwin
from recorded_cuts import recorded

from cutler_pl.maskcut import affinity
from cutler_pl.maskcut.affinity import PatchGraph
from cutler_pl.maskcut.ncut import Eigenpairs
from cutler_pl.ops import components

__all__ = ["recorded"]


def no_fallback(graph: PatchGraph) -> Eigenpairs:
    raise AssertionError("the fast solver fell back to the full decomposition")


@pytest.fixture
def kernels_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU, run here: packed edges, and the source of the CUDA kernels compiled for the CPU."""
    for module in (affinity, components):
        monkeypatch.setattr(module, "kernels_for", lambda source, device: CpuTwin(source))
