"""How masks are grouped."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cutler_pl.coco.validation import OnError
from cutler_pl.runtime.ranges import Count, Integer, Share, check_fields

Method = Literal["kmeans", "hdbscan"]


@dataclass(frozen=True, kw_only=True)
class DiscoverOptions:
    """Options of `discover`.

    Attributes:
        method: `kmeans`, or `hdbscan`, which finds the number of clusters and leaves out what belongs to none.
        k: Number of clusters of `kmeans`; None: the one of the highest silhouette, from 2 to `max_k`.
        max_k: Largest number that is tried.
        min_cluster_size: Objects that a cluster of `hdbscan` has at least.
        components: Principal components of the features that are clustered; None for the features themselves.
        seed: Of the clustering.
        batch_size: Images of which features are computed at once.
        threads: Threads that decode images.
        max_failure_rate: Largest share of unreadable images that still counts as success.
        on_error: "raise" ends at the first invalid record, "skip" lists and leaves out invalid records.
    """

    method: Method = "kmeans"
    k: Annotated[int, Integer(1, 1000)] | None = None
    max_k: Annotated[int, Integer(2, 1000)] = 20
    min_cluster_size: Annotated[int, Integer(2)] = 5
    components: Count | None = 32
    seed: Annotated[int, Integer()] = 0
    batch_size: Count = 8
    threads: Annotated[int, Integer(1, 1024)] = 2
    max_failure_rate: Share = 0.1
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        check_fields(self)

    def constants(self) -> dict[str, Any]:
        """What the clusters depend on, given the features."""
        of_method = {"kmeans": ("k", *(("max_k",) if self.k is None else ())), "hdbscan": ("min_cluster_size",)}
        return {name: getattr(self, name) for name in ("method", *of_method[self.method], "components", "seed")}
