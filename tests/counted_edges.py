"""A patch graph's edges with a count of the products: what a solver costs."""

from torch import Tensor

from cutler_pl.maskcut.affinity import Edges
from cutler_pl.runtime.cuda_kernels import Kernels


class CountedEdges:
    """Edges that count their products with vectors."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self.matvecs = 0

    @property
    def patches(self) -> int:
        return self._edges.patches

    @property
    def kernels(self) -> Kernels | None:
        return self._edges.kernels

    def matvec(self, x: Tensor, images: Tensor) -> Tensor:
        self.matvecs += 1
        return self._edges.matvec(x, images)

    def dense(self, image: int) -> Tensor:
        return self._edges.dense(image)
