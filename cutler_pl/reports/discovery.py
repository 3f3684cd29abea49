"""The page of discovered clusters: a contact sheet for each, from its most to its least typical object."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cutler_pl.coco import rle
from cutler_pl.coco.file_names import path_below
from cutler_pl.discovery.grouping import CLASSES_FILE, NAMES_FILE, Clusters
from cutler_pl.discovery.objects import grouped_file
from cutler_pl.errors import AnnotationError, ImageReadError
from cutler_pl.images import read_image
from cutler_pl.reports.html_report import Figure, Page, Section, write_page
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.draw import draw_instances

log = get_logger(__name__)

MAX_CLUSTERS = 200
_MARGIN = 0.15
_COLUMNS, _HEIGHT = 6, 150
Panel = UInt8[np.ndarray, "_ _ 3"]


def write_discovery_page(
    output: Path,
    images: Path,
    found: Clusters,
    *,
    num_examples: int,
    names: Mapping[int, str | None] | None = None,
    commands: Sequence[str] = (),
) -> None:
    """Write `<output>/index.html`.

    Args:
        images: Folder of the images.
        found: The clusters.
        num_examples: Objects of each cluster that are shown.
        names: Given by people; None before.
        commands: What made the page, and what comes next.
    """
    shown = range(1, min(found.count, MAX_CLUSTERS) + 1)
    chosen = {number: _spread(found, number, num_examples) for number in shown}
    panels = dict(_panels(found, images, {id_ for ids in chosen.values() for id_ in ids}, output))
    sections = [_counts(found, names)]
    for number, ids in chosen.items():
        drawn = [panels[id_] for id_ in ids if id_ in panels]
        size = found.sizes[number - 1]
        text = (f"{len(drawn)} of {size} object{'' if size == 1 else 's'}, from the most typical to the least.",)
        sheet = contact_sheet(drawn, [""] * len(drawn), columns=_COLUMNS, height=_HEIGHT) if drawn else None
        figures = () if sheet is None else (Figure(sheet, alt=f"{len(drawn)} objects of cluster {number}"),)
        sections.append(Section(_title(number, names), text=text, blocks=figures))
    page = Page(
        title="Clusters of objects",
        intro=(
            "Masks without labels, grouped by the features inside them. "
            f"Name the clusters in `{NAMES_FILE}`, or leave them out there; the same command with `names=` writes "
            f"`{CLASSES_FILE}`, a COCO file with these classes.",
        ),
        sections=sections,
        commands=commands,
        metadata=run_metadata(),
    )
    write_page(output / "index.html", page)


def _title(number: int, names: Mapping[int, str | None] | None) -> str:
    if names is None:
        return f"Cluster {number}"
    name = names[number]
    return f"Cluster {number}: left out" if name is None else f"Cluster {number}: {name}"


def _counts(found: Clusters, names: Mapping[int, str | None] | None) -> Section:
    typicality = [
        float(np.mean(found.typicality[found.numbers == number], dtype=np.float64))
        for number in range(1, found.count + 1)
    ]
    rows: list[tuple[str, int, str | None]] = [
        (_title(number, names), size, f"{mean:.2f}")
        for number, (size, mean) in enumerate(zip(found.sizes, typicality, strict=True), 1)
    ]
    if in_none := int((found.numbers == 0).sum()):
        rows.append(("in no cluster", in_none, None))
    tables = [Table(["cluster", "objects", "similarity"], rows, title="Clusters")]
    if found.silhouettes:
        tried = [(k, f"{value:.3f}") for k, value in sorted(found.silhouettes.items())]
        tables.append(Table(["k", "silhouette"], tried, title="Numbers of clusters tried"))
    text = ["Similarity is the mean cosine of the objects with the mean of their cluster."]
    if found.count > MAX_CLUSTERS:
        text.append(f"The first {MAX_CLUSTERS} of {found.count} clusters are shown.")
    if found.failures:
        text.append(f"{len(found.failures)} images could not be read; their objects are in no cluster.")
    return Section("Counts", text=text, blocks=tables)


def _spread(found: Clusters, number: int, count: int) -> list[int]:
    """Ids of objects of a cluster, evenly spaced from the most typical to the least."""
    members = np.flatnonzero(found.numbers == number)
    members = members[np.argsort(-found.typicality[members], kind="stable")]
    places = np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(np.int64)
    return [int(id_) for id_ in found.annotation_ids[members[places]]]


def _panels(found: Clusters, images: Path, ids: set[int], output: Path) -> Iterator[tuple[int, Panel]]:
    """A crop of each of these objects; those of images that cannot be read are logged and left out."""
    with grouped_file(found.annotations, output, on_error="skip") as file:
        for group in file.groups():
            of_image: dict[int, list[Any]] = {}
            for annotation in group.coco["annotations"]:
                if annotation["id"] in ids:
                    of_image.setdefault(annotation["image_id"], []).append(annotation)
            for record in group.coco["images"]:
                if record["id"] in of_image:
                    try:
                        image = read_image(path_below(images, record["file_name"]))
                    except (AnnotationError, ImageReadError) as error:
                        log.warning("not on the page: %s", error)
                        continue
                    for annotation in of_image[record["id"]]:
                        mask = rle.decode(rle.to_rle(annotation["segmentation"], record["height"], record["width"]))
                        if mask.shape == image.shape[:2]:
                            yield annotation["id"], _crop(image, mask)


def _crop(image: UInt8[np.ndarray, "height width 3"], mask: np.ndarray) -> Panel:
    """The object with some of its surroundings, its mask drawn."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    margin = max(2, round(_MARGIN * max(np.ptp(rows), np.ptp(columns))))
    window = np.s_[
        max(0, rows[0] - margin) : rows[-1] + 1 + margin, max(0, columns[0] - margin) : columns[-1] + 1 + margin
    ]
    return draw_instances(image[window], mask[None][:, *window], opacity=0.0, brightness=0.5)
