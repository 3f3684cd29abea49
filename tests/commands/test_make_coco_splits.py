import json
import zipfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from cutler_pl.commands import make_coco_splits
from cutler_pl.commands.values import check_values
from cutler_pl.datasets.catalog import CATALOG, SEMI_PERCENTS
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.runtime.config_tree import config_dir

CONFIG_DIR = config_dir()


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("make_coco_splits", overrides=list(overrides))


def checked_run(cfg: DictConfig) -> list[Path]:
    """As `launch` does."""
    check_values("make_coco_splits", cfg)
    return make_coco_splits.run(cfg)


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A datasets folder with a train2017 file of 200 images, one object each."""
    path = tmp_path / "data sets" / CATALOG["coco_100"].annotations
    path.parent.mkdir(parents=True)
    numbers = range(1, 201)
    coco = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 4, "width": 4} for n in numbers],
        "annotations": [{"id": n, "image_id": n, "iscrowd": 0} for n in numbers],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path.write_text(json.dumps(coco))
    return tmp_path / "data sets"


def images(path: Path) -> set[int]:
    return {image["id"] for image in json.loads(path.read_text())["images"]}


def test_make_all_splits_of_catalogue(datasets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = make_coco_splits.run(config(f"paths.datasets='{datasets}'"))
    assert files == [datasets / CATALOG[f"coco_semi_{percent}"].annotations for percent in SEMI_PERCENTS]
    assert [len(images(path)) for path in files] == [2 * percent for percent in SEMI_PERCENTS]
    assert images(files[0]) < images(files[1]) < images(files[-1])
    assert "100%" in capsys.readouterr().out


def test_lists_of_others_are_read(datasets: Path, tmp_path: Path) -> None:
    (tmp_path / "lists.txt").write_text(json.dumps({"1.0": {"3": [0, 199]}}))
    place = [f"paths.datasets='{datasets}'", f"lists='{tmp_path / 'lists.txt'}'", f"output='{tmp_path / 'out'}'"]
    (path,) = make_coco_splits.run(config(*place, "percents=[1]", "seed=3"))
    assert path == tmp_path / "out" / "1perc_instances_train2017.json"
    assert images(path) == {1, 200}


def test_copy_released_from_archive_or_folder(datasets: Path, tmp_path: Path) -> None:
    place, archive = f"paths.datasets='{datasets}'", tmp_path / "annotations.zip"
    files = make_coco_splits.run(config(place, "percents=[1,10]", f"output='{tmp_path / 'original'}'"))
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(files[0], f"annotations/{files[0].name}")
    (unpacked,) = make_coco_splits.run(config(place, "percents=[1]", f"released='{archive}'"))
    assert unpacked == datasets / CATALOG["coco_semi_1"].annotations
    assert unpacked.read_bytes() == files[0].read_bytes()
    again = config(place, "percents=[10]", f"released='{tmp_path / 'original'}'")
    assert make_coco_splits.run(again)[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(AnnotationError, match=r"holds no 2perc_instances_train2017\.json"):
        make_coco_splits.run(config(place, "percents=[2]", f"released='{archive}'"))
    with pytest.raises(DatasetNotFoundError, match=r"2perc_instances_train2017\.json: no such file"):
        make_coco_splits.run(config(place, "percents=[2]", f"released='{tmp_path / 'original'}'"))
    with pytest.raises(DatasetNotFoundError, match="gone: no such file or folder"):
        make_coco_splits.run(config(place, "percents=[2]", f"released='{tmp_path / 'gone'}'"))


def test_keep_existing_files(datasets: Path) -> None:
    cfg = [f"paths.datasets='{datasets}'", "percents=[5]"]
    (path,) = make_coco_splits.run(config(*cfg))
    before = images(path)
    with pytest.raises(ConfigError, match=r"the file exists; .*overwrite=true"):
        make_coco_splits.run(config(*cfg, "seed=1"))
    make_coco_splits.run(config(*cfg, "seed=1", "overwrite=true"))
    assert images(path) != before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["percents=5"], "percents=5: expected a list"),
        (["percents=[0]"], r"percents=\[0\]: expected a list .*each a number"),
        (["percents=[five]"], r"percents=\[five\]: expected a list .*each a number"),
        (["lists=a", "released=b"], "give one of them"),
    ],
)
def test_refuse_invalid_settings(datasets: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked_run(config(f"paths.datasets='{datasets}'", *overrides))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no such annotation file: .*instances_train2017\.json"):
        make_coco_splits.run(config(f"paths.datasets='{tmp_path}'"))
