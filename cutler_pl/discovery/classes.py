"""From clusters and their names to a COCO file with classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutler_pl.coco.stream import writing_coco
from cutler_pl.discovery.cluster_names import check_names
from cutler_pl.discovery.grouping import Clusters
from cutler_pl.discovery.objects import grouped_file
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


class ClassCounts(NamedTuple):
    """What a file with classes holds: objects per class, and objects left out."""

    objects: dict[str, int]
    left_out: int


def name_clusters(found: Clusters, names: Mapping[int, str | None], output: str | Path) -> ClassCounts:
    """Write the objects of the named clusters with their names as classes.

    All images are written; the annotations keep their ids and other values. Crowds, objects of clusters without a name
    and objects of none are left out. Categories count from 1 in the order of the clusters.

    Args:
        found: The clusters.
        names: Name of each cluster; None leaves it out. The same name for several makes one class.
        output: COCO file to write.

    Raises:
        ConfigError: A cluster is unknown or missing, a name is no text, or all are left out.
        OutputWriteError: There is no space left.
    """
    checked = check_names(names, found.count, source_name="names")
    ids = {name: i for i, name in enumerate(dict.fromkeys(name for name in checked.values() if name is not None), 1)}
    categories = np.array([0, *(ids.get(checked[number] or "", 0) for number in range(1, found.count + 1))])
    order = np.argsort(found.annotation_ids)
    sorted_ids, of_object = found.annotation_ids[order], categories[found.numbers][order]
    output = Path(output)
    left_out = 0
    with grouped_file(found.annotations, output.parent, on_error="skip") as file:
        header = {**file.header, "categories": [{"id": id_, "name": name} for name, id_ in ids.items()]}
        with writing_coco(output, header) as coco:
            for group in file.groups():
                for image in group.coco["images"]:
                    coco.image(image)
                for annotation in group.coco["annotations"]:
                    place = int(np.searchsorted(sorted_ids, annotation["id"]))
                    known = place < len(sorted_ids) and sorted_ids[place] == annotation["id"]
                    category_id = int(of_object[place]) if known else 0
                    if category_id:
                        coco.annotation({**annotation, "category_id": category_id})
                    left_out += not category_id
    sizes = np.bincount(of_object, minlength=len(ids) + 1)
    counts = ClassCounts({name: int(sizes[id_]) for name, id_ in ids.items()}, left_out)
    log.info("%s: %d objects of %d classes, %d left out", output, sum(counts.objects.values()), len(ids), left_out)
    return counts
