"""The option files of the data: what they say is the recipe's, and agrees with the catalog."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from cutler_pl.data import CopyPasteParams, TrainDataModule
from cutler_pl.datasets.catalog import CATALOG, SEMI_PERCENTS

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = {
    "imagenet_maskcut": "imagenet_maskcut",
    **{f"imagenet_r{r}": f"imagenet_r{r}" for r in (1, 2, 3)},
    **{f"coco_semi {percent}": f"coco_semi_{percent}" for percent in SEMI_PERCENTS},
    "coco_semi 100": "coco_100",
}


def build(data: str, augment: str, *overrides: str) -> TrainDataModule:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = ["+paths=default", f"+data={data}", f"+augment={augment}", "+seed=3", "paths.datasets=sets"]
        return instantiate(compose(overrides=[*options, *overrides]).data.datamodule)


@pytest.mark.parametrize(("option", "name"), NAMES.items())
def test_options_agree_with_catalog_and_recipe(option: str, name: str) -> None:
    option, _, percent = option.partition(" ")
    data = build(option, "none", *(("+label_schedule=coco", f"+label_percent={percent}") if percent else ()))
    info = CATALOG[name]
    training_set = data.training_set
    assert (Path(training_set.images), Path(training_set.annotations)) == (
        Path("sets") / info.images,
        Path("sets") / info.annotations,
    )
    assert training_set.class_agnostic == info.class_agnostic
    transforms = data.dataset.transforms
    assert (data.loader.batch_size, transforms.max_size, transforms.flip_probability, data.seed) == (16, 1333, 0.5, 3)
    coco, imagenet = (640, 672, 704, 736, 768, 800), (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
    assert tuple(transforms.train_sizes) == (coco if name.startswith("coco") else imagenet)
    assert data.augment.copy_paste is data.augment.transforms is None


def test_folder_name_with_comma_and_spaces() -> None:
    data = build(
        "folder", "none", "data.images='my images (1), new'", "data.annotations=x.json", "data.train_sizes=[480]"
    )
    assert data.training_set.images == "my images (1), new"
    assert data.dataset.transforms.train_sizes == [480]


def test_copy_paste_of_recipe() -> None:
    assert build("imagenet_maskcut", "cutler").augment.copy_paste == CopyPasteParams()
    assert build("imagenet_r1", "self_train").augment.copy_paste == CopyPasteParams(ratio_min=0.5)
    reproducing = build("imagenet_maskcut", "cutler", "augment.copy_paste.reproduce=true")
    assert reproducing.augment.copy_paste == CopyPasteParams(reproduce=True)
