import json
import logging
import multiprocessing
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutler_pl.data import (
    EvalDataModule,
    TrainDataModule,
)
from cutler_pl.data.instances import InstanceBatch
from cutler_pl.errors import ConfigError

from .train_datamodules import COPY_PASTE, Folder, Recorder, SaveAt, datamodule, fit


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_run_equals_uninterrupted(make_folder: Callable[..., Any], tmp_path: Path, num_workers: int) -> None:
    folder = make_folder([(24, 40), (40, 24), (30, 30), (26, 34), (28, 28)], objects=2)

    def data() -> TrainDataModule:
        return datamodule(folder, augment=COPY_PASTE, num_workers=num_workers, seed=3)

    path = tmp_path / "middle.ckpt"
    whole = fit(data(), Recorder(), steps=9, callbacks=[SaveAt(4, path)])
    resumed = fit(data(), Recorder(), steps=9, resume=path)

    assert len(whole.seen) == 9
    assert resumed.seen == whole.seen[4:]
    assert multiprocessing.active_children() == []


def test_short_epochs_continue_the_order(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 7)
    whole = fit(datamodule(folder), Recorder(), steps=6)
    limited = fit(datamodule(folder), Recorder(), steps=6, limit_train_batches=2)
    assert [seen[1:] for seen in limited.seen] == [seen[1:] for seen in whole.seen]


def test_max_images_takes_the_first(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 7)
    module = fit(datamodule(folder, max_images=3), Recorder(), steps=4)
    assert {image_id for _, ids, _, _ in module.seen for image_id in ids} == {100, 101, 102}
    with pytest.raises(ConfigError, match=r"data\.max_images=0: expected an integer of at least 1"):
        datamodule(folder, max_images=0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_file_names_need_not_be_utf8(make_folder: Callable[..., Any], num_workers: int) -> None:
    folder = make_folder([(24, 40)] * 4)
    name = os.fsdecode(b"sub/caf\xe9.png")
    (folder.images / "sub/01.png").rename(folder.images / name)
    folder.coco["images"][1]["file_name"] = name
    folder.rewrite()
    validation = EvalDataModule(folder.images, folder.annotations, num_workers=num_workers)
    data = datamodule(folder, batch_size=4, num_workers=num_workers, validation=validation)
    data.check()
    module = fit(data, Recorder(), steps=1, val_check_interval=1)
    assert sorted(module.seen[0][1]) == module.validated == [100, 101, 102, 103]
    assert data.failures == validation.failures == {}
    assert [meta.file_name for _, metas in validation.val_dataloader() for meta in metas][1] == name


def test_validation_images_come_from_their_own_datamodule(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 4)
    held_out = make_folder([(20, 30), (30, 20), (22, 22)], name="held out")
    validation = EvalDataModule(held_out.images, held_out.annotations, batch_size=2, num_workers=0)
    data = datamodule(folder, augment=COPY_PASTE, validation=validation)
    module = Recorder()
    fit(data, module, steps=4, val_check_interval=2)
    assert module.validated == [100, 101, 102] * 2
    assert len(module.seen) == 4


def test_copy_paste_after_transfer(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(40, 40)] * 6, objects=3)
    data = datamodule(folder, augment=COPY_PASTE, train_sizes=(40,), batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, InstanceBatch)
    assert [len(target["labels"]) for target in batch.targets] == [3] * 4
    images, targets = data.on_after_batch_transfer(batch, 0)
    assert len(images) == 4
    assert sum(len(target["labels"]) for target in targets) > 12


def test_precise_bn_batches_lack_copy_paste(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(40, 40)] * 6, objects=3)
    data = datamodule(folder, augment=COPY_PASTE)
    plain = list(islice(data.precise_bn_dataloader(), 3))
    train = list(islice(data.train_dataloader(), 3))
    for (images, targets), batch in zip(plain, train, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(images, batch.images, strict=True))
        assert [target["image_id"] for target in targets] == [target["image_id"] for target in batch.targets]
    assert data.on_after_batch_transfer(plain[0], 0) is plain[0]
    assert data.next_step == 0


def test_changed_batch_size_goes_on_with_next_image(
    make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder([(24, 40)] * 5)
    data = datamodule(folder)
    for batch in islice(data.train_dataloader(), 3):
        data.on_after_batch_transfer(batch, 0)
    state = data.state_dict()
    assert json.loads(json.dumps(state)) == {"next_step": 3, "next_image": 6, "batch_size": 2, "num_images": 5}

    resumed = datamodule(folder, batch_size=4)
    with caplog.at_level(logging.INFO):
        resumed.load_state_dict(state)
    assert "steps of 4 images from here on, of 2 before" in caplog.text
    following = [t["image_id"] for batch in islice(data.train_dataloader(), 2) for t in batch.targets]
    (batch,) = islice(resumed.train_dataloader(), 1)
    assert batch.step == 3
    assert sorted(t["image_id"] for t in batch.targets) == sorted(following)


def test_changed_images_are_warned_of(make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    data = datamodule(make_folder([(24, 40)] * 5))
    with caplog.at_level(logging.WARNING):
        data.load_state_dict(data.state_dict() | {"num_images": 7})
    assert "resumed with 5 images, interrupted with 7" in caplog.text


def test_partial_groups_are_said_once(make_folder: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder([(24, 40)] * 4)
    datamodule(folder, batch_size=3).train_dataloader()
    assert caplog.text.count("the 3 images of a process are no multiple of data.group_size=2 and are one group") == 1
    caplog.clear()
    datamodule(folder, batch_size=4).train_dataloader()
    assert caplog.text == ""


def test_classes_are_one_or_of_file(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 2)
    folder.coco["categories"] = [{"id": 90, "name": "brush"}, {"id": 3, "name": "car"}]
    for annotation, category in zip(folder.coco["annotations"], (90, 3), strict=True):
        annotation["category_id"] = category
    folder.rewrite()
    one, many = datamodule(folder), datamodule(folder, class_agnostic=False)
    assert (one.training_set.category_ids, one.training_set.class_names) == ([1], ["fg"])
    assert (many.training_set.category_ids, many.training_set.class_names) == ([3, 90], ["car", "brush"])
    labels = {t["image_id"]: t["labels"].tolist() for t in next(iter(many.train_dataloader())).targets}
    assert labels == {100: [2], 101: [1]}


def test_filter_images_without_objects(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40)] * 4)
    del folder.coco["annotations"][0]
    folder.coco["annotations"][0]["iscrowd"] = 1
    folder.rewrite()
    ids = {t["image_id"] for batch in islice(datamodule(folder).train_dataloader(), 4) for t in batch.targets}
    everything = datamodule(folder, filter_empty=False)
    all_ids = {t["image_id"] for batch in islice(everything.train_dataloader(), 4) for t in batch.targets}
    assert ids == {102, 103}
    assert all_ids == {100, 101, 102, 103}


def test_ranks_share_a_batch(make_folder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder([(24, 40)] * 8)
    alone = next(iter(datamodule(folder, batch_size=4).train_dataloader()))
    parts = []
    for rank in range(2):
        monkeypatch.setattr("cutler_pl.data.train_datamodule.world_size", lambda: 2)
        monkeypatch.setattr("cutler_pl.data.train_datamodule.global_rank", lambda rank=rank: rank)
        batch = next(iter(datamodule(folder, batch_size=4).train_dataloader()))
        parts += batch.targets
    assert [t["image_id"] for t in parts] == [t["image_id"] for t in alone.targets]
    with pytest.raises(ConfigError, match=r"data\.batch_size=3"):
        datamodule(folder, batch_size=3).train_dataloader()


@pytest.mark.real_data
def test_real_images_train(data_dir: Path, tmp_path: Path) -> None:
    root = data_dir / "coco_mini"
    data = datamodule(
        Folder(root / "images", root / "annotations/instances.json"), index_dir=tmp_path, batch_size=4,
        train_sizes=(120,), max_size=200, class_agnostic=False, augment=COPY_PASTE,
    )  # fmt: skip
    data.check()
    category_ids = data.training_set.category_ids
    assert (len(category_ids), category_ids[0], category_ids[-1]) == (80, 1, 90)
    for batch in islice(data.train_dataloader(), 4):
        images, targets = data.on_after_batch_transfer(batch, 0)
        for image, target in zip(images, targets, strict=True):
            assert target["masks"].shape[1:] == image.shape[1:]
            assert bool(target["masks"].any(dim=2).any(dim=1).all())
            assert np.isin(target["labels"].numpy(), np.arange(1, 81)).all()
