import logging
from collections.abc import Callable
from itertools import islice, repeat
from typing import Any

import pytest

from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError, ImageReadError

from .train_datamodules import Folder, datamodule


def test_check_passes_on_sound_data(make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder([(24, 40)] * 4, objects=2)
    with caplog.at_level(logging.INFO):
        datamodule(folder).check()
    assert "4 of 4 images with 8 objects of 1 classes" in caplog.text


@pytest.mark.parametrize("missing", ["images", "annotations"])
def test_check_names_missing_path(make_folder: Callable[..., Any], missing: str) -> None:
    folder = make_folder([(24, 40)])
    with pytest.raises(DatasetNotFoundError) as error:
        datamodule(folder, **{missing: "./no where/x, y"}).check()
    text = str(error.value)
    assert "./no where/x, y" in text
    assert f"data.{missing}" in text
    assert "cutler quickstart" in text
    assert "\n" not in text


def test_check_finds_that_the_files_are_elsewhere(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 3)
    with pytest.raises(DatasetNotFoundError, match=r"3 of 3 image files.*data\.images="):
        datamodule(folder, images=folder.images / "sub").check()


def test_check_accepts_few_missing_files(make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder([(24, 40)] * 30)
    (folder.images / "sub/04.png").unlink()
    with caplog.at_level(logging.WARNING):
        datamodule(folder).check()
    assert "1 of 30 image files looked for are missing" in caplog.text


def test_check_refuses_annotations_without_objects(make_folder: Callable[..., Any]) -> None:
    with pytest.raises(AnnotationError, match=r"nothing to train on.*data\.annotations="):
        datamodule(make_folder([(24, 40)], objects=0)).check()


def test_check_refuses_objects_without_masks(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 2)
    del folder.coco["annotations"][0]["segmentation"]
    folder.rewrite()
    with pytest.raises(AnnotationError, match="1 objects have a box but no segmentation"):
        datamodule(folder).check()


def test_check_refuses_what_is_not_json(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)])
    folder.annotations.write_text("<html>not found</html>")
    with pytest.raises(AnnotationError, match="not a COCO JSON"):
        datamodule(folder).check()


def test_run_continues_with_few_unreadable_images(
    make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder([(24, 40)] * 30)
    (folder.images / "sub/04.png").write_bytes(b"broken")
    data = datamodule(folder, batch_size=3)
    with caplog.at_level(logging.WARNING):
        for batch in islice(data.train_dataloader(), 30):
            assert len(data.on_after_batch_transfer(batch, 0)[0]) == 3
    assert list(data.failures) == ["sub/04.png"]
    assert caplog.text.count("sub/04.png") == 1


def test_too_many_unreadable_images_end_run(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 20)
    for i in range(0, 20, 5):
        (folder.images / f"sub/{i:02d}.png").write_bytes(b"broken")
    data = datamodule(folder)
    batches = islice(data.train_dataloader(), 100)
    with pytest.raises(ImageReadError, match=r"10 of \d+ training images could not be read"):
        list(map(data.on_after_batch_transfer, batches, repeat(0)))
    assert len(data.failures) == 4


def test_vanished_folder_ends_run(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 4)
    data = datamodule(folder)
    batches = iter(data.train_dataloader())
    for batch in islice(batches, 200):
        data.on_after_batch_transfer(batch, 0)
    folder.images.rename(folder.images.with_name("gone"))
    with pytest.raises(ImageReadError, match="no such file"):
        data.on_after_batch_transfer(next(batches), 0)


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"train_sizes": []}, {"train_sizes": [0]}, {"flip_probability": 2.0}, {"num_workers": -1}],
)
def test_refuse_invalid_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(settings))}"):
        datamodule(Folder("x", "y.json"), **settings)
