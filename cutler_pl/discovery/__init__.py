"""Classes from masks without labels: features inside each mask, clusters of them, names that people give.

`discover` groups the masks of a COCO file, `name_clusters` writes a COCO file with the classes. An addition to the
paper.
"""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.discovery.classes import name_clusters
    from cutler_pl.discovery.cluster_names import read_names, write_names
    from cutler_pl.discovery.grouping import Clusters, discover
    from cutler_pl.discovery.options import DiscoverOptions

__all__ = ["Clusters", "DiscoverOptions", "discover", "name_clusters", "read_names", "write_names"]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.discovery.classes": "name_clusters",
        "cutler_pl.discovery.cluster_names": "read_names write_names",
        "cutler_pl.discovery.grouping": "Clusters discover",
        "cutler_pl.discovery.options": "DiscoverOptions",
    },
)
