from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cutler_pl.training.callbacks import VisualSamples, visual_samples

Make = Callable[..., Any]


def test_draw_training_and_validation_images(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    samples = VisualSamples(tmp_path / "s", every_n_steps=4, num_images=1, score_threshold=0.1)
    trainer = make_trainer(max_steps=5, val_check_interval=4, limit_val_batches=1.0, callbacks=[samples])
    trainer.fit(make_module(), datamodule=stand_in_data(validation=True))
    drawn = sorted(path.relative_to(tmp_path / "s").as_posix() for path in (tmp_path / "s").rglob("*.jpg"))
    first, middle, validated, last = drawn
    assert [first, middle, last] == [f"step_000000{step}/train_0.jpg" for step in (1, 4, 5)]
    assert validated == "step_0000004/val_0.jpg"
    with Image.open(tmp_path / "s" / middle) as train, Image.open(tmp_path / "s" / validated) as validation:
        assert validation.size == (8, 8)
        assert train.width > 2 * 8


def test_drawing_leaves_training_unchanged(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    weights = []
    for callbacks in ([], [VisualSamples(tmp_path, every_n_steps=1)]):
        module = make_module()
        make_trainer(max_steps=4, callbacks=callbacks).fit(module, datamodule=stand_in_data())
        assert module.model.training
        weights.append(module.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_label_objects_with_class_names(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = visual_samples.draw_instances
    monkeypatch.setattr(visual_samples, "draw_instances", lambda *a, **k: (drawn.append(k["labels"]), draw(*a, **k))[1])
    for names, expected in ((["cat", "dog"], {"cat"}), (["fg"], set())):
        drawn.clear()
        module = make_module()
        module.model_config = {"class_names": names}
        samples = VisualSamples(tmp_path, every_n_steps=1, num_images=1, score_threshold=0.1)
        make_trainer(max_steps=1, callbacks=[samples]).fit(module, datamodule=stand_in_data())
        assert len(drawn) == 2
        assert {name for labels in drawn for name in labels or ()} == expected


def test_accumulated_batches_are_drawn_once_a_step(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    samples = VisualSamples(tmp_path, every_n_steps=1, num_images=1)
    trainer = make_trainer(max_steps=2, accumulate_grad_batches=3, callbacks=[samples])
    trainer.fit(make_module(), datamodule=stand_in_data())
    assert sorted(path.parent.name for path in tmp_path.rglob("train_0.jpg")) == ["step_0000001", "step_0000002"]
