"""From masks without labels to a COCO file with classes: clusters of the masks, and a name for each.

python examples/classes.py <annotations.json> <images> <output folder>
"""

import sys
from pathlib import Path

from cutler_pl.discovery import DiscoverOptions, discover, name_clusters
from cutler_pl.maskcut import build_feature_extractor

if len(sys.argv) != 4:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
annotations, images, output = sys.argv[1:]

extractor = build_feature_extractor("patch_descriptors")  # "dino_vits16" for real images; it downloads weights
found = discover(annotations, images, output, extractor=extractor, fixed_size=240, options=DiscoverOptions(k=2))
print(found.sizes, found.features.shape)

counts = name_clusters(found, {1: "first kind", 2: "second kind"}, Path(output) / "annotations.json")
print(counts.objects)
