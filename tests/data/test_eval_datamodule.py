from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from cutler_pl.data import EvalDataModule
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError


def test_images_come_whole_once_and_in_order(make_folder: Callable[..., Any]) -> None:
    folder = make_folder([(24, 40), (40, 24), (30, 30)])
    data = EvalDataModule(folder.images, folder.annotations, batch_size=2, num_workers=0)
    data.check()
    batches = list(data.val_dataloader())
    assert len(data.val_dataloader()) == 2
    assert [len(images) for images, _ in batches] == [2, 1]
    metas = [meta for _, metas in batches for meta in metas]
    assert metas == [(100, "sub/00.png", 24, 40), (101, "sub/01.png", 40, 24), (102, "sub/02.png", 30, 30)]
    assert batches[0][0][1].shape == (3, 40, 24)
    assert batches[0][0][1].dtype == torch.uint8


@pytest.mark.parametrize("num_workers", [0, 2])
def test_record_unreadable_images(make_folder: Callable[..., Any], num_workers: int) -> None:
    folder = make_folder([(24, 40)] * 5)
    (folder.images / "sub/01.png").write_bytes(b"broken")
    folder.coco["images"][3]["height"] = 25
    folder.coco["annotations"] = []
    folder.rewrite()
    data = EvalDataModule(folder.images, folder.annotations, num_workers=num_workers)
    batches = list(data.test_dataloader())
    assert [meta.image_id for _, metas in batches for meta in metas] == [100, 102, 104]
    assert len(batches) == 5  # an empty batch where the only image is bad
    assert list(data.failures) == ["sub/01.png", "sub/03.png"]
    assert "25×40" in data.failures["sub/03.png"]


def test_lightning_predicts_over_all_images(make_folder: Callable[..., Any]) -> None:
    class Module(L.LightningModule):
        def predict_step(self, batch: Any, batch_idx: int) -> list[int]:
            return [meta.image_id for meta in batch[1]]

    folder = make_folder([(24, 40)] * 5)
    data = EvalDataModule(folder.images, folder.annotations, batch_size=2, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    assert trainer.predict(Module(), datamodule=data) == [[100, 101], [102, 103], [104]]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [(2, [[[100], [102], [104]], [[101], [103]]]), (6, [[[100]], [[101]], [[102]], [[103]], [[104]], [[]]])],
)
def test_ranks_share_the_images_without_repeats(
    make_folder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, ranks: int, expected: list[list[list[int]]]
) -> None:
    """A rank without images has an empty batch, so that it takes part in what ranks do together."""
    folder = make_folder([(24, 40)] * 5)
    monkeypatch.setattr("cutler_pl.data.image_datamodule.world_size", lambda: ranks)
    seen = []
    for rank in range(ranks):
        monkeypatch.setattr("cutler_pl.data.image_datamodule.global_rank", lambda rank=rank: rank)
        data = EvalDataModule(folder.images, folder.annotations, num_workers=0)
        seen.append([[meta.image_id for meta in metas] for _, metas in data.val_dataloader()])
    assert seen == expected


def test_check_names_what_is_missing(make_folder: Callable[..., Any], tmp_path: Path) -> None:
    folder = make_folder([(24, 40)])
    with pytest.raises(DatasetNotFoundError, match=r"nowhere\.json.*annotations="):
        EvalDataModule(folder.images, "nowhere.json").check()
    with pytest.raises(DatasetNotFoundError, match=r"no image folder nowhere.*images="):
        EvalDataModule("nowhere", folder.annotations).check()
    with pytest.raises(DatasetNotFoundError, match=r"no image file .*00\.png"):
        EvalDataModule(tmp_path, folder.annotations).check()
    folder.coco.update(images=[], annotations=[])
    folder.rewrite()
    with pytest.raises(AnnotationError, match="lists no image"):
        EvalDataModule(folder.images, folder.annotations).check()


def test_refuse_invalid_settings() -> None:
    with pytest.raises(ConfigError, match="batch_size=0"):
        EvalDataModule("x", "y.json", batch_size=0)
