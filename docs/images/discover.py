"""Draws docs/images/discover.jpg: six clusters of the objects of generated scenes of six kinds, one per row.

    python docs/images/discover.py

Masks are those known from composing the scenes, features are `patch_descriptors`, and k-means makes the clusters.
"""

import tempfile
from pathlib import Path

import numpy as np

from cutler_pl.datasets.kind_scenes import KindParams, write_kind_scenes
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.discovery import DiscoverOptions, discover
from cutler_pl.images import read_image
from cutler_pl.maskcut import build_feature_extractor
from cutler_pl.reports.discovery import write_discovery_page
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.image_files import save_image

KINDS = 6


def main() -> None:
    """Group, and put the contact sheets of the page below one another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        write_kind_scenes(images, 60, SceneParams(min_objects=2), KindParams(count=KINDS), seed=3)
        found = discover(
            folder / "annotations.json",
            images,
            folder / "out",
            extractor=build_feature_extractor("patch_descriptors"),
            fixed_size=240,
            options=DiscoverOptions(k=KINDS),
        )
        write_discovery_page(folder / "out", images, found, num_examples=6)
        sheets = sorted((folder / "out" / "index_files").iterdir())
        rows = [np.asarray(read_image(sheet)) for sheet in sheets]
    titles = [f"cluster {number}, {size} objects" for number, size in enumerate(found.sizes, start=1)]
    save_image(Path(__file__).with_suffix(".jpg"), contact_sheet(rows, titles, columns=1, height=150))


if __name__ == "__main__":
    main()
