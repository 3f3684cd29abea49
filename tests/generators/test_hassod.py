"""Region merging by hand, and the parents of regions."""

import torch

from cutler_pl.generators.hassod import Hassod, merge_similar
from cutler_pl.generators.levels import parents
from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import unit_tokens

ANGLES = torch.deg2rad(torch.tensor([0.0, 10.0, 60.0, 90.0, 95.0, 180.0]))
SIX = torch.stack([ANGLES.cos(), ANGLES.sin()])[None, :, None]  # six patches in a row
IMAGES = torch.zeros(1, 3, 8, 48, dtype=torch.uint8)


def merged(threshold: float) -> list[int]:
    regions = Regions.of_patches(1, 1, 6, torch.device("cpu"))
    return merge_similar(regions, unit_tokens(SIX), threshold=threshold).labels.flatten().tolist()


def test_merge_six_regions() -> None:
    """At 0, 10, 60, 90, 95 and 180°: 0 with 10 (cos 10°), 90 with 95 (cos 5°), then 60 with their mean at 92.5°
    (cos 32.5° = 0.84); the mean of these three lies near 82°, so that the first pair at 5° joins below cos 77° = 0.22;
    the mean of those five, near 49°, has a negative cosine with 180°."""
    assert merged(0.99) == [0, 1, 2, 3, 3, 4]
    assert merged(0.98) == [0, 0, 1, 2, 2, 3]
    assert merged(0.8) == [0, 0, 1, 1, 1, 2]
    assert merged(0.3) == [0, 0, 1, 1, 1, 2]
    assert merged(0.2) == [0, 0, 0, 0, 0, 1]
    assert merged(0.0) == [0, 0, 0, 0, 0, 1]


def test_levels_name_parent_and_number() -> None:
    options = Hassod(thresholds=(0.9, 0.8, 0.2), min_patches=2)
    (found,) = options.propose(IMAGES, {"a": SIX})
    rows = ["".join(map(str, mask)) for mask in found.masks[:, 0].int().tolist()]
    assert rows == ["110000", "000110", "001110", "111110"]
    assert [one["levels"] for one in found.provenance] == [[0.9, 0.8], [0.9], [0.8], [0.2]]
    assert [(one["number"], one["parent"]) for one in found.provenance] == [(1, 4), (2, 3), (3, 4), (4, None)]


def test_parent_is_smallest_cover() -> None:
    rows = torch.arange(10)
    masks = torch.stack([rows < 10, rows < 6, (rows > 2) & (rows < 8), rows < 3])[:, None]
    assert parents(masks, min_cover=0.9) == [None, 1, 1, 2]
    assert parents(masks, min_cover=0.6) == [None, 1, 2, 2]
    assert parents(masks[:0], min_cover=0.9) == []
