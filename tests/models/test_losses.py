import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cutler_pl.models.box_coder import encode_boxes
from cutler_pl.models.losses import box_regression_loss, classification_loss, mask_loss, mask_targets, rpn_losses

LOG2 = math.log(2)
STAGES = [
    ("stage0", (10.0, 10.0, 5.0, 5.0)),
    ("stage1", (20.0, 20.0, 10.0, 10.0)),
    ("stage2", (30.0, 30.0, 15.0, 15.0)),
]


def classes_of(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_rpn_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 5.0, 0.0]])
    deltas = torch.tensor([[[1.0, 2, 3, 4], [9, 9, 9, 9], [9, 9, 9, 9], [9, 9, 9, 9]]])
    targets = torch.tensor([[[0.0, 0, 0, 0], [math.nan] * 4, [math.inf] * 4, [0, 0, 0, 0]]])
    labels = torch.tensor([[1, 0, -1, 0]], dtype=torch.int8)
    losses = rpn_losses(logits, deltas, labels, targets, normaliser=4)
    assert losses["loss_rpn_cls"].item() == pytest.approx(3 * LOG2 / 4)
    assert losses["loss_rpn_loc"].item() == pytest.approx(10 / 4)


def test_rpn_loss_gradients_stay_where_anchors_are_sampled() -> None:
    logits, deltas = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, 3, 4, requires_grad=True)
    labels = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    targets = torch.tensor([[[1.0, -1, 1, -1], [math.nan] * 4, [math.inf] * 4]])
    sum(rpn_losses(logits, deltas, labels, targets, normaliser=2).values()).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.25, 0.0]]))
    assert deltas.grad.tolist() == [[[-0.5, 0.5, -0.5, 0.5], [0.0] * 4, [0.0] * 4]]


def test_classification_loss_counts_dropped_regions_in_the_mean() -> None:
    logits = torch.zeros(4, 2)
    logits[3] = torch.tensor([math.log(3), 0.0])  # background has probability 1/4
    assert classification_loss(logits[:3], classes_of(0, 1, 1)).item() == pytest.approx(LOG2)
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0])
    loss = classification_loss(logits, classes_of(0, 1, 1, 1), weights)
    assert loss.item() == pytest.approx((2 * LOG2 + math.log(4)) / 4)


def test_classification_loss_without_weights_is_that_of_ones() -> None:
    logits, classes = torch.randn(5, 4), classes_of(0, 1, 2, 3, 3)
    torch.testing.assert_close(
        classification_loss(logits, classes), classification_loss(logits, classes, torch.ones(5))
    )


def test_box_loss_divides_by_all_proposals() -> None:
    deltas = torch.tensor([[1.0, 1, 1, 1], [5, 5, 5, 5], [0, 0, 2, 0]])
    targets = torch.tensor([[0.0, 0, 0, 0], [math.nan] * 4, [0, 0, 0, -1]])
    loss = box_regression_loss(deltas, classes_of(0, 1, 0), targets, num_classes=1)
    assert loss.item() == pytest.approx((4 + 3) / 3)


def test_box_loss_of_class_specific_deltas() -> None:
    """Only the columns of the proposal's class count."""
    deltas = torch.arange(16.0).view(2, 8).requires_grad_()
    loss = box_regression_loss(deltas, classes_of(1, 2), torch.zeros(2, 4), num_classes=2)
    assert loss.item() == pytest.approx((4 + 5 + 6 + 7) / 2)
    loss.backward()
    assert deltas.grad.tolist() == [[0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5], [0] * 8]


def test_mask_targets_are_cells_covered_at_least_half() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :, :4] = True
    masks[1, 2:6, 2:6] = True
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [2, 2, 6, 6]])
    targets = mask_targets(masks, boxes, classes_of(1, 0, 1), size=4)
    assert targets[0].int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert targets[1].int().tolist() == [[1, 1, 0, 0]] * 4
    assert targets[2].all()


def test_chunked_mask_targets_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.rand(5, 20, 30) > 0.5
    corners = torch.rand(40, 2) * 10
    boxes = torch.cat([corners, corners + 1 + torch.rand(40, 2) * 20], dim=1)
    indices = torch.randint(0, 5, (40,))
    whole = mask_targets(masks, boxes, indices)
    monkeypatch.setattr("cutler_pl.models.losses._PIXELS_AT_ONCE", 2 * 20 * 30)
    assert torch.equal(mask_targets(masks, boxes, indices), whole)


def test_mask_loss_selects_the_class() -> None:
    logits = torch.zeros(2, 3, 2, 2)
    logits[0, 2], logits[1, 0] = math.log(3), -math.log(3)
    targets = torch.zeros(2, 2, 2, dtype=torch.bool)
    targets[0] = True
    assert mask_loss(logits, classes_of(2, 0), targets).item() == pytest.approx(math.log(4 / 3))
    assert mask_loss(logits[:, :1], classes_of(0, 0), targets).item() == pytest.approx((LOG2 + math.log(4 / 3)) / 2)


def test_empty_inputs_give_attached_zero_losses() -> None:
    """The zeros are attached to the predictions."""
    no_classes, no_targets = classes_of(), torch.zeros(0, 4)
    scores, agnostic, specific = (torch.zeros(0, n, requires_grad=True) for n in (3, 4, 8))
    masks = torch.zeros(0, 2, 28, 28, requires_grad=True)
    losses = [
        classification_loss(scores, no_classes),
        classification_loss(scores, no_classes, torch.zeros(0)),
        box_regression_loss(agnostic, no_classes, no_targets, num_classes=2),
        box_regression_loss(specific, no_classes, no_targets, num_classes=2),
        mask_loss(masks, no_classes, torch.zeros(0, 28, 28, dtype=torch.bool)),
    ]
    assert [loss.item() for loss in losses] == [0.0] * 5
    sum(losses).backward()
    assert all(part.grad is not None for part in (scores, agnostic, specific, masks))
    assert mask_targets(torch.zeros(0, 8, 8, dtype=torch.bool), no_targets, no_classes).shape == (0, 28, 28)


def test_losses_without_foreground() -> None:
    """Finite, with zero gradients."""
    deltas = torch.randn(3, 4, requires_grad=True)
    loss = box_regression_loss(deltas, classes_of(1, 1, 1), torch.full((3, 4), math.nan), num_classes=1)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(deltas.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_float32(dtype: torch.dtype) -> None:
    """For half inputs and under autocast."""
    scores, deltas, masks = torch.randn(3, 2), torch.randn(3, 4), torch.randn(3, 1, 28, 28)
    classes, targets = classes_of(0, 1, 0), torch.randn(3, 4)
    mask_target = torch.rand(3, 28, 28) > 0.5
    labels = torch.tensor([[1, 0, 1]], dtype=torch.int8)

    def losses(cast: torch.dtype) -> list[Tensor]:
        return [
            classification_loss(scores.to(dtype).to(cast), classes),
            box_regression_loss(deltas.to(dtype).to(cast), classes, targets, num_classes=1),
            mask_loss(masks.to(dtype).to(cast), classes, mask_target),
            *rpn_losses(
                scores[None, :, 0].to(dtype).to(cast), deltas[None].to(dtype).to(cast), labels, targets[None],
                normaliser=3,
            ).values(),
        ]  # fmt: skip

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(dtype)
    for half, full in zip(found, losses(torch.float32), strict=True):
        assert half.dtype == torch.float32
        assert torch.equal(half, full)


def golden_records(golden_dir: Path) -> list[tuple[str, str, tuple[float, ...], dict[str, Any], dict[str, float]]]:
    """(array tag, loss suffix, box weights, stage record, losses) of every stage that the golden file records."""
    table = json.loads((golden_dir / "detector/train_losses.json").read_text())
    records = []
    for bn in ("bnTrain", "bnEval"):
        for drop in ("drop0", "drop1"):
            for architecture, stages in (("cascade", STAGES), ("maskrcnn", [("single", STAGES[0][1])])):
                tag = f"{architecture}_{bn}_{drop}"
                for name, box_weights in stages:
                    suffix = "" if name == "single" else f"_{name}"
                    records.append((f"{tag}_{name}", suffix, box_weights, table[tag][name], table[tag]["roi_losses"]))
    return records


@pytest.mark.golden
def test_golden_box_head_losses_of_every_stage(golden_dir: Path) -> None:
    arrays = np.load(golden_dir / "detector/train_arrays.npz")
    records = golden_records(golden_dir)
    assert len(records) == 16
    for tag, suffix, box_weights, record, losses in records:

        def both(key: str, tag: str = tag) -> Tensor:
            return torch.cat([torch.from_numpy(arrays[f"{tag}_{key}{i}"]) for i in (0, 1)])

        logits, deltas = (torch.from_numpy(arrays[f"{tag}_{key}"]) for key in ("logits", "deltas"))
        classes = both("gt_classes").long()
        targets = encode_boxes(both("boxes"), both("gt_boxes"), box_weights)
        box_loss = box_regression_loss(deltas, classes, targets, num_classes=1)
        assert box_loss.item() == pytest.approx(losses[f"loss_box_reg{suffix}"], rel=1e-5), tag
        assert classification_loss(logits, classes).item() == pytest.approx(record["loss_cls_unweighted"], rel=1e-5)
        if tag.split("_")[2] == "drop1":
            weights = torch.from_numpy(arrays[f"{tag}_weights"])
            loss = classification_loss(logits, classes, weights)
            assert loss.item() == pytest.approx(losses[f"loss_cls{suffix}"], rel=1e-5)
            paper = (torch.from_numpy(arrays[f"{tag}_iou_max_allgt"]) > 0.01).float()
            assert classification_loss(logits, classes, paper).item() == pytest.approx(
                record["loss_cls_if_allgt"], rel=1e-5
            )
            assert int((paper == 0).sum()) == record["n_dropped_allgt"]


def test_row_weights_average_within_groups_first() -> None:
    """Two groups of one and three rows."""
    rows = torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    logits, deltas, masks = torch.randn(4, 2), torch.randn(4, 4), torch.randn(4, 1, 2, 2)
    classes, targets, pixels = classes_of(0, 0, 1, 0), torch.zeros(4, 4), torch.rand(4, 2, 2) > 0.5
    parts = slice(0, 1), slice(1, 4)
    for whole, group in [
        (classification_loss(logits, classes, row_weights=rows), lambda p: classification_loss(logits[p], classes[p])),
        (
            box_regression_loss(deltas, classes, targets, num_classes=1, row_weights=rows),
            lambda p: box_regression_loss(deltas[p], classes[p], targets[p], num_classes=1),
        ),
        (mask_loss(masks, classes, pixels, row_weights=rows), lambda p: mask_loss(masks[p], classes[p], pixels[p])),
    ]:
        torch.testing.assert_close(whole, sum(group(part) for part in parts) / 2)
