from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cutler_pl.models.box_coder import decode_boxes
from cutler_pl.models.droploss import DropLoss, DropLossOriginal, StagePrediction, droploss_weights

STAGES = {
    "cascade": [
        ("stage0", (10.0, 10.0, 5.0, 5.0)),
        ("stage1", (20.0, 20.0, 10.0, 10.0)),
        ("stage2", (30.0, 30.0, 15.0, 15.0)),
    ],
    "maskrcnn": [("single", (10.0, 10.0, 5.0, 5.0))],
}
GT = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
NONE = torch.zeros(0, 4)


def test_weight_is_one_above_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 0, 50, 10], [25, 0, 35, 10], [0, 0, 5, 10]])
    assert droploss_weights(boxes, GT, 0.01).tolist() == [1, 0, 1, 1]
    assert droploss_weights(boxes, GT, 0.4).tolist() == [1, 0, 0, 1]


def test_iou_equal_to_the_threshold_is_dropped() -> None:
    assert droploss_weights(torch.tensor([[0.0, 0, 5, 10]]), GT[:1], 0.5).tolist() == [0]


def test_weights_of_empty_inputs() -> None:
    """Without ground truth all weights are one."""
    assert droploss_weights(GT, NONE, 0.01).tolist() == [1, 1]
    assert droploss_weights(NONE, GT, 0.01).shape == (0,)


def test_weights_are_float32_without_gradient() -> None:
    assert not droploss_weights(GT.clone().requires_grad_(), GT, 0.01).requires_grad
    assert droploss_weights(GT.half(), GT.half(), 0.01).dtype == torch.float32


def test_droploss_compares_within_one_image() -> None:
    first = StagePrediction(predicted_boxes=GT, matched_gt_boxes=GT[[0, 0]], gt_boxes=GT)
    second = StagePrediction(predicted_boxes=GT, matched_gt_boxes=GT[[1, 1]], gt_boxes=GT[1:])
    assert DropLoss()([first, second], stage=0).tolist() == [1, 1, 0, 1]


def test_droploss_keeps_images_without_ground_truth() -> None:
    """The weights of other images do not change."""
    empty = StagePrediction(predicted_boxes=GT, matched_gt_boxes=torch.zeros(2, 4), gt_boxes=NONE)
    other = StagePrediction(predicted_boxes=GT, matched_gt_boxes=GT[[0, 0]], gt_boxes=GT[:1])
    for stage in range(3):
        assert DropLoss()([empty, other], stage=stage).tolist() == [1, 1, 1, 0]


def test_original_compares_first_n_matches() -> None:
    boxes = torch.cat([GT, torch.tensor([[60.0, 0, 70, 10]])])
    image = StagePrediction(boxes, matched_gt_boxes=GT[[0, 0, 1]], gt_boxes=GT)
    assert DropLossOriginal()([image], stage=0).tolist() == [1, 0, 0], "two different boxes: the first two matches"
    image = StagePrediction(boxes, matched_gt_boxes=GT[[0, 1, 1]], gt_boxes=GT)
    assert DropLossOriginal()([image], stage=0).tolist() == [1, 1, 0]


def test_original_counts_distinct_boxes() -> None:
    """Among the first 100 proposals."""
    matches = GT[torch.tensor([0] * 100 + [1])]
    image = StagePrediction(matches, matched_gt_boxes=matches, gt_boxes=GT)
    assert DropLossOriginal()([image], stage=0).tolist() == [1] * 100 + [0]


def test_original_without_ground_truth() -> None:
    """DropLoss is off for the batch, and the image without ground truth is dropped."""
    empty = StagePrediction(predicted_boxes=GT, matched_gt_boxes=torch.zeros(2, 4), gt_boxes=NONE)
    other = StagePrediction(predicted_boxes=GT, matched_gt_boxes=GT[[0, 0]], gt_boxes=GT[:1])
    assert DropLossOriginal()([empty, other], stage=0).tolist() == [1, 1, 1, 1]
    assert DropLossOriginal()([empty, other], stage=1).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("weighting", [DropLoss(), DropLossOriginal()], ids=["paper", "original"])
def test_weightings_take_images_without_regions(weighting: DropLoss | DropLossOriginal) -> None:
    image = StagePrediction(predicted_boxes=NONE, matched_gt_boxes=NONE, gt_boxes=GT)
    assert weighting([image, image], stage=0).shape == (0,)


@pytest.mark.golden
@pytest.mark.parametrize("bn", ["bnTrain", "bnEval"])
@pytest.mark.parametrize("architecture", ["cascade", "maskrcnn"])
def test_golden_weights_of_paper_and_original(golden_dir: Path, architecture: str, bn: str) -> None:
    arrays = np.load(golden_dir / "detector/train_arrays.npz")
    batch = np.load(golden_dir / "detector/train_batch.npz")
    for stage, (name, box_weights) in enumerate(STAGES[architecture]):
        tag = f"{architecture}_{bn}_drop1_{name}"

        def tensor(key: str, tag: str = tag) -> Tensor:
            return torch.from_numpy(arrays[f"{tag}_{key}"])

        sizes = [len(tensor(f"boxes{i}")) for i in (0, 1)]
        deltas = tensor("deltas").split(sizes)
        images = [
            StagePrediction(
                predicted_boxes=decode_boxes(tensor(f"boxes{i}"), deltas[i], box_weights),
                matched_gt_boxes=tensor(f"gt_boxes{i}"),
                gt_boxes=torch.from_numpy(batch[f"gt_boxes{i}"]),
            )
            for i in (0, 1)
        ]
        assert torch.equal(DropLossOriginal()(images, stage=stage), tensor("weights"))
        assert torch.equal(DropLoss()(images, stage=stage), (tensor("iou_max_allgt") > 0.01).float())


def test_original_is_off_for_the_group_of_an_empty_image() -> None:
    empty = StagePrediction(predicted_boxes=GT, matched_gt_boxes=torch.zeros(2, 4), gt_boxes=NONE)
    far = StagePrediction(predicted_boxes=GT + 1000, matched_gt_boxes=GT, gt_boxes=GT)
    images = [empty, far, far._replace(group=1), far._replace(group=1)]
    assert DropLossOriginal()(images, stage=0).tolist() == [1.0] * 4 + [0.0] * 4
