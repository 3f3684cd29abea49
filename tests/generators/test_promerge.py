"""ProMerge on a scene of three surfaces, by hand."""

import torch

from cutler_pl.generators.promerge import ProMerge

IMAGES = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)


def scene() -> torch.Tensor:
    """A background, and two objects of 4 × 4 patches in a grid of 12 × 12, with orthogonal features."""
    features = torch.zeros(1, 3, 12, 12)
    features[0, 0] = 1.0
    for channel, rows, columns in ((1, slice(1, 5), slice(1, 5)), (2, slice(6, 10), slice(7, 11))):
        features[0, :, rows, columns] = 0.0
        features[0, channel, rows, columns] = 1.0
    return features


def test_find_objects_and_leave_background_out() -> None:
    (found,) = ProMerge(stride=2).propose(IMAGES, {"a": scene()})
    assert {tuple(mask.nonzero()[0].tolist()) for mask in found.masks} == {(1, 1), (6, 7)}
    assert found.masks.flatten(1).sum(1).tolist() == [16, 16]
    assert found.scores.tolist() == [1.0, 1.0]  # cosine 1 inside, 0 around
    assert [one["seeds"] for one in found.provenance] == [1, 1]  # the others add nothing new
    assert found.maps["background"].bool().sum() == 144 - 32


def test_merge_alike_masks_that_overlap() -> None:
    """Masks of 10 and 6 patches share 4 of the 6: one object; with 1 shared patch they stay two unless alike."""
    masks = torch.zeros(1, 2, 20, dtype=torch.bool)
    masks[0, 0, :6], masks[0, 1, 2:12] = True, True
    tokens = torch.eye(20)[None]
    groups, seeds = ProMerge()._merge(masks, tokens)
    assert groups.any(2).sum() == 1
    assert seeds[0, 0] == 2
    assert groups[0, 0].sum() == 12
    masks[0, 0] = False
    masks[0, 0, 11:17] = True
    assert ProMerge(merge_similarity=0.5)._merge(masks, tokens)[0].any(2).sum() == 2
    alike = torch.ones(1, 20, 2)
    assert ProMerge()._merge(masks, alike)[0].any(2).sum() == 1


def test_uniform_image_has_no_mask() -> None:
    (found,) = ProMerge().propose(IMAGES, {"a": torch.ones(1, 3, 12, 12)})
    assert found.masks.shape == (0, 12, 12)
