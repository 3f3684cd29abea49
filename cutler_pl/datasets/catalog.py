"""The recipe's datasets: paths below the datasets folder, and what is measured on them.

The layout is that of the original, so that a folder made for it can be used as it is. A missing part is reported with
the command that makes or fetches it.
"""

from dataclasses import dataclass
from pathlib import Path

from cutler_pl.errors import ConfigError, DatasetNotFoundError

SEMI_PERCENTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80)

ZERO_SHOT = (
    "coco", "coco20k", "voc", "lvis", "uvo", "clipart", "comic", "watercolor", "kitti", "objects365", "openimages",
)  # fmt: skip
"""The datasets of the zero-shot table, in its order."""


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset of the recipe; paths are relative to the datasets folder.

    Args:
        images: Folder that the annotations' file names are relative to.
        annotations: COCO JSON.
        masks: Whether the ground truth has masks to be measured.
        class_agnostic: Whether all objects count as one class.
        max_dets: Detections per image when predicting; metrics are at 100.
    """

    images: str
    annotations: str
    masks: bool = True
    class_agnostic: bool = True
    max_dets: int = 100


@dataclass(frozen=True)
class DatasetPaths:
    """A dataset that was found."""

    name: str
    images: Path
    annotations: Path
    info: DatasetInfo


CATALOG: dict[str, DatasetInfo] = {
    "coco": DatasetInfo("coco/val2017", "coco/annotations/coco_cls_agnostic_instances_val2017.json"),
    "coco_80": DatasetInfo("coco/val2017", "coco/annotations/instances_val2017.json", class_agnostic=False),
    "coco20k": DatasetInfo("coco/train2014", "coco/annotations/coco20k_trainval_gt.json"),
    "lvis": DatasetInfo("coco", "coco/annotations/lvis1.0_cocofied_val_cls_agnostic.json", max_dets=300),
    "voc": DatasetInfo("voc", "voc/annotations/trainvaltest_2007_cls_agnostic.json", masks=False),
    "uvo": DatasetInfo("uvo/all_UVO_frames", "uvo/annotations/val_sparse_cleaned_cls_agnostic.json"),
    "clipart": DatasetInfo("clipart", "clipart/annotations/traintest_cls_agnostic.json", masks=False),
    "watercolor": DatasetInfo("watercolor", "watercolor/annotations/traintest_cls_agnostic.json", masks=False),
    "comic": DatasetInfo("comic", "comic/annotations/traintest_cls_agnostic.json", masks=False),
    "kitti": DatasetInfo("kitti", "kitti/annotations/trainval_cls_agnostic.json", masks=False),
    "objects365": DatasetInfo(
        "objects365/val", "objects365/annotations/zhiyuan_objv2_val_cls_agnostic.json", masks=False
    ),
    "openimages": DatasetInfo(
        "openImages/validation", "openImages/annotations/openimages_val_cls_agnostic.json", masks=False
    ),
    "imagenet_maskcut": DatasetInfo("imagenet/train", "imagenet/annotations/imagenet_train_fixsize480_tau0.15_N3.json"),
    **{
        f"imagenet_r{r}": DatasetInfo("imagenet/train", f"imagenet/annotations/cutler_imagenet1k_train_r{r}.json")
        for r in (1, 2, 3)
    },
    **{
        f"coco_semi_{percent}": DatasetInfo(
            "coco/train2017", f"coco/annotations/{percent}perc_instances_train2017.json", class_agnostic=False
        )
        for percent in SEMI_PERCENTS
    },
    "coco_100": DatasetInfo("coco/train2017", "coco/annotations/instances_train2017.json", class_agnostic=False),
}


def missing(name: str, datasets_root: str | Path, *, with_images: bool = True) -> list[str]:
    """The parts of a dataset that are missing below the datasets folder, the images only if they are asked for.

    Raises:
        ConfigError: There is no dataset of this name.
    """
    info, root = _info(name), Path(datasets_root)
    annotations, images = root / info.annotations, root / info.images
    absent = [] if annotations.is_file() else [f"annotation file {annotations}"]
    return [*absent, f"image folder {images}"] if with_images and not images.is_dir() else absent


def download_hint(name: str) -> str:
    """The command that makes a dataset's annotation file, or fetches it where it was released.

    Raises:
        ConfigError: There is no dataset of this name.
    """
    images = f"images belong in <paths.datasets>/{_info(name).images}"
    prepare = f"cutler prepare_dataset name={name}"
    if name in ZERO_SHOT:
        return f"{prepare} root=<original download> makes the annotations (fetch=true gets the original's); {images}"
    if name.startswith("coco_semi_"):
        return f"{prepare} fetch=true gets the original's subset, cutler make_coco_splits makes one; {images}"
    if name.startswith("imagenet_"):
        command = "maskcut" if name == "imagenet_maskcut" else "self_train"
        original = "" if name == "imagenet_r3" else f" ({prepare} fetch=true gets the original's)"
        return f"cutler {command} makes the annotations{original}; {images}"
    return f"the annotations are COCO's own (https://cocodataset.org/#download); {images}"


def resolve(name: str, datasets_root: str | Path, *, with_images: bool = True) -> DatasetPaths:
    """Find a dataset below the datasets folder.

    Raises:
        ConfigError: There is no dataset of this name.
        DatasetNotFoundError: Its image folder or annotation file is missing; the message says how to get it.
    """
    info, root = _info(name), Path(datasets_root)
    if absent := missing(name, root, with_images=with_images):
        raise DatasetNotFoundError(
            f"no {' and no '.join(absent)}; dataset {name!r} is expected below paths.datasets={datasets_root}: "
            f"{download_hint(name)}"
        )
    return DatasetPaths(name, root / info.images, root / info.annotations, info)


def _info(name: str) -> DatasetInfo:
    if name not in CATALOG:
        raise ConfigError(f"there is no dataset {name!r}; choose among {' '.join(CATALOG)}")
    return CATALOG[name]
