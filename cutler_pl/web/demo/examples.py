"""Images to try: generated scenes, made when the page starts.

They are those of the seeds 1000 to 1059 on which `tiny_generated` and `patch_descriptors` do best: examples of what the
page shows, not of how well either works.
"""

from pathlib import Path

from cutler_pl.datasets.scenes import SceneParams, generate_scene
from cutler_pl.visual.image_files import save_image

_SEEDS = (1033, 1030, 1029, 1021)
_SCENE = SceneParams(height=360, width=480, min_objects=2, max_objects=4)


def write_examples(folder: Path) -> list[Path]:
    """Write the scenes as PNG files."""
    paths = [folder / f"scene_{number}.png" for number in range(1, len(_SEEDS) + 1)]
    for path, seed in zip(paths, _SEEDS, strict=True):
        save_image(path, generate_scene(_SCENE, seed=seed).image)
    return paths
