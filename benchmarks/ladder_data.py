"""What the ladder measures on: generated scenes of three difficulties, and small real sets."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cutler_pl.commands.result_cache import read_cached, write_cached
from cutler_pl.datasets.converters import Options, open_download, write_records
from cutler_pl.datasets.scenes import SceneParams, write_scenes

NUM_TEST, NUM_TRAIN = 80, 320
SCENE_SEED = 7000
"""The first seed of the ladder's scenes."""
TUNING_SEED, NUM_TUNING = 5000, 40
"""Of the scenes on which the options of all generators were tuned, and scores are calibrated."""

SCENES = {
    "easy": SceneParams(max_objects=2, min_radius=0.15, max_radius=0.3, min_visible=0.9),
    "middle": SceneParams(),
    "hard": SceneParams(min_objects=4, max_objects=10, min_radius=0.05, max_radius=0.16, min_visible=0.3),
}
LARGE = SceneParams(height=480, width=480)
"""The look of the scenes of 60×60 cells of 8 pixels."""
NUM_LARGE = 12
_SHIFT = {"easy": 200, "middle": 0, "hard": 400, "large": 600}  # no two of them share a scene


@dataclass(frozen=True)
class Data:
    """Images and their ground truth; `has_masks`: not boxes alone."""

    images: Path
    annotations: Path
    has_masks: bool = True


def train_seed(seed: int) -> int:
    """Seed of the middle scenes that detectors of this seed of the ladder learn from."""
    return SCENE_SEED + 2 * seed


def test_seed(data: str, seed: int) -> int:
    """Seed of the scenes that this seed of the ladder measures on."""
    return SCENE_SEED + _SHIFT[data] + 2 * seed + 1


def test_scenes(folder: Path, data: str, seed: int) -> Data:
    """Scenes to measure on, below a folder, written unless they are there."""
    return _scenes(folder / f"{data}_{seed}", SCENES[data], NUM_TEST, test_seed(data, seed))


def large_scenes(folder: Path, seed: int) -> Data:
    """Large scenes, to measure speed on."""
    return _scenes(folder / f"large_{seed}", LARGE, NUM_LARGE, test_seed("large", seed))


def tuning_scenes(folder: Path) -> Data:
    """Scenes that no table uses."""
    return _scenes(folder / "tuning", SCENES["middle"], NUM_TUNING, TUNING_SEED)


def train_scenes(folder: Path, seed: int) -> Data:
    """The middle scenes to learn from, whose ground truth nobody looks at."""
    return _scenes(folder / f"train_{seed}", SCENES["middle"], NUM_TRAIN, train_seed(seed))


def _scenes(root: Path, look: SceneParams, count: int, seed: int) -> Data:
    settings = {"scenes": asdict(look), "count": count, "seed": seed}
    if read_cached(root / "made.json", settings) is None:
        write_scenes(root / "images", count, look, seed=seed)
        write_cached(root / "made.json", settings)
    return Data(root / "images", root / "annotations.json")


def real_sets(folder: Path, work: Path) -> Iterator[tuple[str, Data]]:
    """The small real sets of a folder, those that are there; VOC's boxes are converted into `work`."""
    coco = Data(folder / "coco_mini" / "images", folder / "coco_mini" / "annotations" / "instances_cls_agnostic.json")
    if coco.annotations.is_file():
        yield "coco_mini", coco
    voc = folder / "voc_mini" / "DERIVED_from_coco"
    if voc.is_dir():
        target = work / "voc_mini.json"
        download = open_download("voc", voc, datasets=folder, options=Options())
        write_records(download.records, target, skipped=work / "voc_mini_skipped.jsonl", info={}, max_failure_rate=0.0)
        devkit = download.source.images.parents[1]  # names of files start with VOC2007/JPEGImages
        yield "voc_mini", Data(devkit, target, has_masks=False)
