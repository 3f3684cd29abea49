"""Where the recipe's datasets lie below the one datasets folder, and what is measured on them.

The layout is that of the original (its dataset pages say how to make it), so that an existing folder can be used.
"""

from dataclasses import dataclass
from pathlib import Path

from cutler_pl.errors import ConfigError, DatasetNotFoundError

SEMI_PERCENTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80)


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset of the recipe; paths are relative to the datasets folder.

    Args:
        images: Folder that the annotations' file names are relative to.
        annotations: COCO JSON.
        masks: Whether the ground truth has masks, so that mask metrics make sense.
        class_agnostic: Whether all objects count as one class.
        max_dets: Detections per image at prediction time; metrics at 100 are reported in any case.
    """

    images: str
    annotations: str
    masks: bool = True
    class_agnostic: bool = True
    max_dets: int = 100


@dataclass(frozen=True)
class DatasetPaths:
    """A dataset that is there."""

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


def resolve(name: str, datasets_root: str | Path) -> DatasetPaths:
    """Find a dataset below the datasets folder.

    Raises:
        ConfigError: There is no dataset of this name.
        DatasetNotFoundError: Its image folder or annotation file is missing.
    """
    if name not in CATALOG:
        raise ConfigError(f"there is no dataset {name!r}; choose among {' '.join(CATALOG)}")
    info = CATALOG[name]
    root = Path(datasets_root)
    paths = DatasetPaths(name, root / info.images, root / info.annotations, info)
    way_out = f"dataset {name!r} is expected below paths.datasets={datasets_root}"
    if not paths.annotations.is_file():
        raise DatasetNotFoundError(f"no annotation file {paths.annotations}; {way_out}")
    if not paths.images.is_dir():
        raise DatasetNotFoundError(f"no image folder {paths.images}; {way_out}")
    return paths
