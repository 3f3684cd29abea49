import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_detectors import DeterministicSampler

from cutler_pl.errors import ConfigError
from cutler_pl.models.anchors import cell_anchors, grid_anchors
from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE, Matcher
from cutler_pl.models.sampler import RandomSampler, Sampler, sample_indices, sample_labels
from cutler_pl.ops.boxes import box_iou

RPN_RULE = ((0.3, 0.7), (NEGATIVE, IGNORED, POSITIVE))


def labels_of(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int8)


def test_label_by_interval_of_best_iou() -> None:
    iou = torch.tensor([[0.1, 0.3, 0.69, 0.7, 1.0]])
    match = Matcher(*RPN_RULE)(iou)
    assert match.labels.tolist() == [NEGATIVE, IGNORED, IGNORED, POSITIVE, POSITIVE]
    assert match.indices.tolist() == [0] * 5


def test_matcher_gives_ties_to_the_lowest_ground_truth() -> None:
    iou = torch.tensor([[0.0, 0.5, 0.2], [0.0, 0.5, 0.6]])
    assert Matcher((0.5,), (NEGATIVE, POSITIVE))(iou).indices.tolist() == [0, 0, 1]


def test_low_quality_matches() -> None:
    """The best boxes of each ground truth become positive and keep their own match."""
    iou = torch.tensor([[0.8, 0.2, 0.0, 0.0], [0.6, 0.5, 0.1, 0.5]])
    assert Matcher(*RPN_RULE)(iou).labels.tolist() == [POSITIVE, IGNORED, NEGATIVE, IGNORED]
    match = Matcher(*RPN_RULE, allow_low_quality_matches=True)(iou)
    assert match.labels.tolist() == [POSITIVE, IGNORED, NEGATIVE, IGNORED]
    assert match.indices.tolist() == [0, 1, 1, 1], "box 0 is the best of ground truth 1, yet belongs to 0"
    low = torch.tensor([[0.1, 0.2, 0.2], [0.9, 0.0, 0.0]])
    assert Matcher(*RPN_RULE, allow_low_quality_matches=True)(low).labels.tolist() == [POSITIVE] * 3


def test_unmatched_ground_truth_has_no_positives() -> None:
    iou = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.2, 0.1]])
    match = Matcher(*RPN_RULE, allow_low_quality_matches=True)(iou)
    assert match.labels.tolist() == [NEGATIVE, POSITIVE, NEGATIVE]


@pytest.mark.parametrize("low_quality", [False, True])
def test_matcher_without_ground_truth_or_without_boxes(low_quality: bool) -> None:
    matcher = Matcher(*RPN_RULE, allow_low_quality_matches=low_quality)
    match = matcher(torch.zeros(0, 3))
    assert match.labels.tolist() == [NEGATIVE] * 3
    assert match.indices.tolist() == [0] * 3
    match = matcher(torch.zeros(2, 0))
    assert match.labels.shape == match.indices.shape == (0,)


@pytest.mark.parametrize(("thresholds", "labels"), [((0.7, 0.3), (0, -1, 1)), ((0.5,), (0, 1, 1)), ((0.5,), (0, 2))])
def test_matcher_refuses_rules_that_cannot_work(thresholds: tuple[float, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        Matcher(thresholds, labels)


def drawn(labels: torch.Tensor, sampler: Sampler) -> tuple[torch.Tensor, torch.Tensor]:
    """Positives and negatives of a sample of four, each in the order they are taken."""
    indices, taken = sample_indices(labels, num_samples=4, positive_fraction=0.5, sampler=sampler)
    indices = indices[taken]
    return indices[labels[indices] == POSITIVE], indices[labels[indices] == NEGATIVE]


def test_sample_each_image_independently() -> None:
    labels = torch.stack([labels_of(0, 1, -1, 1, 0, 1), labels_of(-1, -1, 0, -1, -1, -1)])
    sampled = sample_labels(labels, num_samples=4, positive_fraction=0.5, sampler=DeterministicSampler())
    assert sampled.tolist() == [[0, 1, -1, 1, 0, -1], [-1, -1, 0, -1, -1, -1]]
    indices, taken = sample_indices(labels, num_samples=4, positive_fraction=0.5, sampler=DeterministicSampler())
    assert [i[t].tolist() for i, t in zip(indices, taken, strict=True)] == [[1, 3, 0, 4], [2]]


def test_match_each_image_independently() -> None:
    """Padding changes nothing."""
    matcher = Matcher(*RPN_RULE, allow_low_quality_matches=True)
    iou = torch.tensor([[0.2, 0.8, 0.0, 0.4], [0.1, 0.9, 0.6, 0.0]])
    alone, padded = matcher(iou), torch.cat([iou, torch.zeros(1, 4)])
    for image in (0, 1):
        match = matcher(torch.stack([padded, padded[[2, 2, 2]]][:: 1 - 2 * image]))
        assert torch.equal(match.indices[image], alone.indices)
        assert torch.equal(match.labels[image], alone.labels)
        assert match.labels[1 - image].tolist() == [NEGATIVE] * 4


def test_deterministic_sampler_takes_the_first() -> None:
    """Positives up to their fraction, then negatives."""
    labels = labels_of(0, 1, -1, 1, 0, 1, 0, 0)
    sampled = sample_labels(labels, num_samples=4, positive_fraction=0.5, sampler=DeterministicSampler())
    assert sampled.tolist() == [0, 1, -1, 1, 0, -1, -1, -1]
    foreground, background = drawn(labels, DeterministicSampler())
    assert foreground.tolist() == [1, 3]
    assert background.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (labels_of(), ([], [])),
        (labels_of(-1, -1), ([], [])),
        (labels_of(1, 1, 1), ([0, 1], [])),
        (labels_of(0, 0, 0, 0, 0), ([], [0, 1, 2, 3])),
        (labels_of(1, 0), ([0], [1])),
    ],
    ids=["nothing", "all ignored", "only positives", "only negatives", "fewer than asked"],
)
@pytest.mark.parametrize("sampler", [DeterministicSampler(), RandomSampler()], ids=["first", "random"])
def test_sampling_with_too_few_candidates_of_a_kind(labels, expected, sampler) -> None:
    foreground, background = drawn(labels, sampler)
    assert (len(foreground), len(background)) == tuple(map(len, expected))
    if isinstance(sampler, DeterministicSampler):
        assert (foreground.tolist(), background.tolist()) == expected
    sampled = sample_labels(labels, num_samples=4, positive_fraction=0.5, sampler=sampler)
    assert [int((sampled == kind).sum()) for kind in (POSITIVE, NEGATIVE)] == list(map(len, expected))
    assert torch.all((sampled == labels) | (sampled == IGNORED))


def test_random_sampler_takes_each_candidate_equally_often() -> None:
    labels, sampler, taken = labels_of(*([1] * 8 + [0] * 4)), RandomSampler(1), torch.zeros(12)
    for _ in range(500):
        foreground, background = drawn(labels, sampler)
        assert len({*foreground.tolist()}) == len({*background.tolist()}) == 2
        taken[torch.cat([foreground, background])] += 1
    torch.testing.assert_close(taken[:8] / 500, torch.full((8,), 2 / 8), atol=0.08, rtol=0)
    torch.testing.assert_close(taken[8:] / 500, torch.full((4,), 2 / 4), atol=0.08, rtol=0)


def test_random_sampler_repeats_a_key_and_survives_copying() -> None:
    cpu, sampler = torch.device("cpu"), RandomSampler(3, 0)
    first = sampler(5, cpu)
    assert not torch.equal(sampler(5, cpu), first)
    assert torch.equal(copy.deepcopy(sampler)(5, cpu), first)
    assert torch.equal(pickle.loads(pickle.dumps(sampler))(5, cpu), first)
    sampler.reseed([(3, 1)])
    assert not torch.equal(sampler(5, cpu), first)
    sampler.reseed([(3, 0)])
    assert torch.equal(sampler(5, cpu), first)


def test_draws_of_an_image_do_not_depend_on_the_batch() -> None:
    """Keys and numbers of boxes of the other images change nothing."""
    cpu, sampler = torch.device("cpu"), RandomSampler()
    sampler.reseed([(3, 7), (3, 8)])
    together = [[sampler(count, cpu) for count in counts] for counts in ((40, 50), (6, 9))]
    sampler.reseed([(3, 8)])
    assert torch.equal(sampler(50, cpu), together[0][1])
    assert torch.equal(sampler(9, cpu), together[1][1])


def test_random_sampler_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    RandomSampler()(5, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def anchors_of(size_hw: tuple[int, int]) -> torch.Tensor:
    levels = []
    for stride, side in zip((4, 8, 16, 32, 64), (32.0, 64.0, 128.0, 256.0, 512.0), strict=True):
        cells_hw = (-(-size_hw[0] // stride), -(-size_hw[1] // stride))
        levels.append(grid_anchors(cell_anchors(side, (0.5, 1.0, 2.0)), cells_hw, stride))
    return torch.cat(levels)


@pytest.mark.golden
@pytest.mark.parametrize("image", [0, 1])
def test_golden_anchor_labels_before_and_after_sampling(golden_dir: Path, image: int) -> None:
    arrays = np.load(golden_dir / "detector/train_arrays.npz")
    batch = np.load(golden_dir / "detector/train_batch.npz")
    iou = box_iou(torch.from_numpy(batch[f"gt_boxes{image}"]), anchors_of((320, 416)))
    match = Matcher(*RPN_RULE, allow_low_quality_matches=True)(iou)
    assert np.array_equal(match.labels, arrays[f"anchor_labels_full_{image}"])
    assert np.array_equal(match.indices, arrays[f"anchor_matched_idx_{image}"])
    sampled = sample_labels(match.labels, num_samples=256, positive_fraction=0.5, sampler=DeterministicSampler())
    assert np.array_equal(sampled, arrays[f"anchor_labels_firstk_{image}"])
