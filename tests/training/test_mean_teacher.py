"""The mean teacher: what it labels, how the losses are weighted, resumed exactly, on any number of processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from kornia.augmentation import RandomErasing
from torch import Tensor, nn
from training_processes import TINY, Run, Seen, images_of_one_size, launch

from cutler_pl.coco import rle
from cutler_pl.data import StrongView
from cutler_pl.errors import ConfigError
from cutler_pl.models import build_detector
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.tiled import EncodedPrediction
from cutler_pl.models.tta import AugmentedDetector, TtaParams
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import EMAWeights
from cutler_pl.training.mean_teacher import MeanTeacher
from cutler_pl.training.mean_teacher_params import MeanTeacherParams
from cutler_pl.training.objective import StepBatch
from cutler_pl.types import Target

Make = Callable[..., Any]
SCORES = [0.9, 0.7, 0.2]
BOXES = torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8], [0, 0, 8, 8]])


def detections() -> CompactPrediction:
    """Three squares of an image of 8 × 10 pixels."""
    return CompactPrediction(
        boxes=BOXES, scores=torch.tensor(SCORES), labels=torch.tensor([2, 1, 1]),
        mask_probabilities=torch.ones(3, 28, 28), size_hw=(8, 10),
    )  # fmt: skip


class Teacher(nn.Module):
    """Finds the same in every image, and remembers the images."""

    def predict(self, images: Sequence[Tensor]) -> list[CompactPrediction]:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen = list(images)
        return [detections() for _ in images]


class Student(nn.Module):
    """Losses of 1 for boxes and of 10 for masks; it remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.calls: list[Any] = []

    def reseed(self, keys: Any) -> None:
        self.keys = keys

    def forward(self, images: Any, targets: Any, *, group_size: int | None = None) -> dict[str, Tensor]:
        self.calls.append(SimpleNamespace(images=images, targets=targets, keys=self.keys, group_size=group_size))
        return {"loss_cls": 1 * self.one, "loss_mask": 10 * self.one}


def averaged(model: nn.Module) -> EMAWeights:
    callback = EMAWeights(decay=0.5)
    callback._average_model = SimpleNamespace(module=SimpleNamespace(model=model))  # type: ignore[assignment]
    return callback


def step(step: int, teacher: Teacher, student: Student, **params: Any) -> dict[str, float]:
    """Losses and figures of four images at a step of eight."""
    module = DetectorModule(student)
    module.trainer = L.Trainer(accelerator="cpu", callbacks=[averaged(teacher)], max_steps=8, logger=False)
    images = [torch.full((3, 8, 10), 10 * i, dtype=torch.uint8) for i in range(4)]
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, 8, 10).bool()}
    targets = [Target(**empty, image_id=i) for i in range(4)]
    strong = StrongView(erasing={"all": RandomErasing(scale=(0.5, 0.5), value=1.0, p=1.0)})
    teach = MeanTeacher(params=MeanTeacherParams(**params), strong=strong)
    batch = StepBatch(images, targets, seed=5, step=step, place=4, group_size=2)
    losses, figures = teach.losses(module, batch)
    return {name: float(value.detach()) for name, value in {**losses, **figures}.items()}


@pytest.mark.parametrize(("at", "expected"), [(0, (1, 2)), (2, (0.853553, 2.146447)), (4, (0.5, 2.5)), (8, (0, 3))])
def test_weights_by_hand(at: int, expected: tuple[float, float]) -> None:
    """Half a cosine from 1 to 0, and from 2 to 3."""
    assert MeanTeacher().weights(at, 8) == pytest.approx(expected, abs=1e-6)


def test_losses_by_hand() -> None:
    """Masks of the teacher count only where asked for."""
    by_hand = {"loss_cls": 0.5, "loss_mask": 5.0, "loss_cls_teacher": 2.5, "loss_mask_teacher": 0.0}
    assert step(4, Teacher(), Student()) == pytest.approx(by_hand | {"teacher_objects": 1.0})
    assert step(4, Teacher(), Student(), mask_loss=True)["loss_mask_teacher"] == pytest.approx(25.0)


def test_teacher_sees_weak_and_student_strong_views() -> None:
    """Even places keep the labels of the file, odd ones get the teacher's."""
    teacher, student = Teacher(), Student()
    step(0, teacher, student)
    first, taught = student.calls
    assert [int(image.max()) for image in teacher.seen] == [10, 30]
    for call, values in ((first, [0, 20]), (taught, [10, 30])):
        for image, value in zip(call.images, values, strict=True):
            assert set(image.unique().tolist()) == {value, 255}
    assert [target["image_id"] for target in first.targets] == [0, 2]
    assert [target["scores"].tolist() for target in taught.targets] == [pytest.approx([0.9])] * 2
    assert [key[-1] for key in first.keys] == [4, 6]
    assert [key[-1] for key in taught.keys] == [5, 7]
    assert first.group_size == taught.group_size == 1


def test_confident_detections_become_targets() -> None:
    """With score, mask and the IoU below which nothing is learned; a score equal to the threshold is not enough."""
    (target,) = MeanTeacher().label(Teacher(), [torch.zeros(3, 8, 10, dtype=torch.uint8)])
    assert target["boxes"].tolist() == [[0, 0, 4, 4]]
    assert target["labels"].tolist() == [2]
    wanted = torch.zeros(1, 8, 10, dtype=torch.bool)
    wanted[:, :4, :4] = True
    assert torch.equal(target["masks"], wanted)
    assert target["ignore_iou"] == 0.01
    params = MeanTeacherParams(min_score=0.1, ignore_iou=None)
    (target,) = MeanTeacher(params=params).label(Teacher(), [torch.zeros(3, 8, 10, dtype=torch.uint8)])
    assert target["scores"].tolist() == pytest.approx(SCORES)
    assert "ignore_iou" not in target


def test_run_lengths_become_targets() -> None:
    masks = torch.zeros(3, 8, 10, dtype=torch.bool)
    masks[0, 2:5, 1:9] = True
    encoded = EncodedPrediction(
        boxes=BOXES, scores=torch.tensor(SCORES), labels=torch.tensor([2, 1, 1]),
        masks=[rle.encode(mask.numpy()) for mask in masks], size_hw=(8, 10),
    )  # fmt: skip
    teach = MeanTeacher()
    assert torch.equal(teach._target(encoded)["masks"], masks[:1])
    assert MeanTeacher(params=MeanTeacherParams(min_score=1.0))._target(encoded)["masks"].shape == (0, 8, 10)


def test_teacher_merges_several_views() -> None:
    model = build_detector("cascade_mask_rcnn_r50_fpn", **TINY).eval()
    images = [torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)]
    params, tta = MeanTeacherParams(min_score=0.2), TtaParams(flip=True)
    (target,) = MeanTeacher(params=params, tta=tta).label(model, images)
    (merged,) = AugmentedDetector(model, tta).predict(images, score_threshold=0.2)
    assert torch.equal(target["boxes"], merged["boxes"])
    assert torch.equal(target["scores"], merged["scores"])
    assert len(target["boxes"]) > 0


@pytest.mark.parametrize(
    ("callbacks", "max_steps", "images", "says"),
    [
        ([], 8, 4, "callbacks=mean_teacher"),
        ([EMAWeights()], -1, 4, r"trainer\.max_steps="),
        ([EMAWeights()], 8, 3, r"gets 3: give data\.batch_size="),
    ],
)
def test_run_that_cannot_work_is_refused(
    make_trainer: Make, callbacks: Any, max_steps: int, images: int, says: str
) -> None:
    trainer = make_trainer(callbacks=callbacks, max_steps=max_steps)
    with pytest.raises(ConfigError, match=says):
        MeanTeacher().check(trainer, images=images)


def test_values_out_of_range_are_refused() -> None:
    for values in ({"min_score": 1.5}, {"first_weight": [1.0]}, {"teacher_weight": [-1.0, 2.0]}):
        with pytest.raises(ConfigError, match=rf"^teacher\.params\.{next(iter(values))}"):
            MeanTeacherParams(**values)


class Falling(nn.Module):
    """One weight and the loss that is its value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Any, targets: Any) -> dict[str, Tensor]:
        return {"loss": 1 * self.weight}


def test_average_of_steps_by_hand(make_trainer: Make, stand_in_data: Make) -> None:
    """From 1 the steps lead to 0.9, 0.8 and 0.7; the average begins at the first of them."""
    callback = EMAWeights(decay=0.75)
    for steps, average in ((1, 0.9), (2, 0.875), (3, 0.83125)):
        module = DetectorModule(Falling(), optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1))
        make_trainer(callbacks=[callback], max_steps=steps).fit(module, datamodule=stand_in_data())
        assert module.model.weight.item() == pytest.approx(1 - 0.1 * steps)  # type: ignore[arg-type]
        assert callback.average.weight.item() == pytest.approx(average)  # type: ignore[union-attr]
        callback = EMAWeights(decay=0.75)


@pytest.fixture
def run(data_dir: Path, tmp_path: Path) -> Iterator[Run]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, annotations = images_of_one_size(data_dir, tmp_path)
    yield Run(images, annotations, str(tmp_path / "whole"), mean_teacher=True)
    torch.set_num_threads(threads)


def test_resumed_run_equals_uninterrupted(run: Run, tmp_path: Path) -> None:
    """Bit by bit, running statistics included; the teacher has found something."""
    run = replace(run, norm="bn", batch_size=2, steps=3)
    whole = launch(run)
    resumed = launch(replace(run, output=str(tmp_path / "resumed"), resume=str(run.checkpoint)))
    assert resumed.losses == whole.losses[2:]
    assert torch.equal(resumed.updates, whole.updates)
    assert min(losses["train/loss_box_reg_stage0_teacher"] for losses in whole.losses) > 0


@pytest.mark.slow
def test_two_processes_equal_one(run: Run, tmp_path: Path) -> None:
    run = replace(run, batch_size=8)
    expected: Seen = launch(run)
    found = launch(replace(run, output=str(tmp_path / "two"), processes=2))
    assert found.images == expected.images
    for losses, others in zip(found.losses, expected.losses, strict=True):
        assert losses == pytest.approx(others, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(found.updates, expected.updates, rtol=1e-3, atol=3e-7)
