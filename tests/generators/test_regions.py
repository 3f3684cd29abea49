"""Partitions of patch grids, merged along edges."""

import pytest
import torch

from cutler_pl.generators.regions import Regions

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_edges_stay_within_images(device: str) -> None:
    """Two grids of 2 × 2: four sides each, none between the images."""
    edges = Regions.of_patches(2, 2, 2, torch.device(device)).edges()
    assert edges.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3], [4, 5], [4, 6], [5, 7], [6, 7]]


@pytest.mark.parametrize("device", DEVICES)
def test_chain_becomes_one_region(device: str) -> None:
    """A path in any order joins all of it; the others keep their place in the order."""
    regions = Regions.of_patches(1, 1, 6, torch.device(device))
    merged = regions.merge(torch.tensor([[3, 4], [1, 2], [2, 3]], device=device))
    assert merged.labels.flatten().tolist() == [0, 1, 1, 1, 1, 2]
    assert merged.count == 3
    assert merged.sizes().tolist() == [1, 4, 1]
    assert merged.first_patches().tolist() == [0, 1, 5]
    assert merged.edges().tolist() == [[0, 1], [1, 2]]


def test_means_of_merged_regions() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]]])
    merged = Regions.of_patches(1, 1, 3, torch.device("cpu")).merge(torch.tensor([[0, 1]]))
    assert merged.means(tokens).tolist() == [[0.5, 0.5], [3.0, 3.0]]


def test_images_of_regions() -> None:
    regions = Regions.of_patches(2, 1, 2, torch.device("cpu")).merge(torch.tensor([[2, 3]]))
    assert regions.images().tolist() == [0, 0, 1]
    assert regions.masks(torch.tensor([2])).tolist() == [[[True, True]]]
