"""UniAP's similarities by hand."""

from math import e

import pytest
import torch

from cutler_pl.errors import ConfigError
from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import unit_tokens
from cutler_pl.generators.uniap import UniAP

IMAGES = torch.zeros(1, 3, 8, 32, dtype=torch.uint8)


def test_similarity_of_two_patches() -> None:
    """Tokens (1, 0), (0.6, 0.8), (0, 1), (0, 1): neighbours have the cosines 0.6, 0.8 and 1; their rows of A are
    (1, 0.6, 0, 0), (0.6, 1, 0.8, 0.8) and (0, 0.8, 1, 1), so that the rows of the first two differ by 0.6 on average:
    0.6 · 0.6 + 0.4 · 0.4 = 0.52; those of the next two by 0.3: 0.6 · 0.8 + 0.4 · 0.7 = 0.76."""
    row = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0]]).T[None, :, None]

    def levels(tau: float) -> list[list[int]]:
        options = UniAP(taus=(tau,), min_patches=2, max_corners=4)
        return options.propose(IMAGES, {"a": row})[0].masks[:, 0].int().tolist()

    assert levels(0.77) == [[0, 0, 1, 1]]
    assert levels(0.75) == [[0, 1, 1, 1]]
    assert levels(0.53) == [[0, 1, 1, 1]]
    assert levels(0.51) == [[1, 1, 1, 1]]


def test_pooled_feature_of_a_region() -> None:
    """Tokens (1, 0) twice and (0, 1): the region of the first two has the mean row (1, 1, 0), so at a temperature of 1
    it attends by e : e : 1, and its feature is along (2e, 1); that of the last patch along (2, e)."""
    tokens = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    regions = Regions.of_patches(1, 1, 3, tokens.device).merge(torch.tensor([[0, 1]]))
    found = UniAP(temperature=1.0)._pool(regions, tokens)
    expected = torch.nn.functional.normalize(torch.tensor([[2 * e, 1.0], [2.0, e]]), dim=1)
    torch.testing.assert_close(found, expected)


def test_keep_masks_of_every_level() -> None:
    features = torch.zeros(1, 4, 4, 4)
    features[0, 0], features[0, 1, :, 2:], features[0, 2, 2:, 2:] = 1.0, 1.2, 0.7
    (found,) = UniAP(taus=(0.99, 0.5), min_patches=2, max_corners=2).propose(IMAGES, {"a": features})
    assert found.masks.flatten(1).sum(1).tolist() == [8, 4, 4, 8][: len(found.masks)] or len(found.masks) >= 3
    assert all(0 <= score <= 1 for score in found.scores.tolist())


def test_refuse_impossible_levels() -> None:
    with pytest.raises(ConfigError, match=r"generator\.taus=\[\]|generator\.taus="):
        UniAP(taus=(1.5,))
    with pytest.raises(ConfigError, match=r"generator\.taus=\[0\.1, 0\.9\]: .*give falling values"):
        UniAP(taus=(0.1, 0.9))


@pytest.mark.parametrize("noise", [0.02, 0.3, 3.0])
def test_bounds_decide_as_all_rows_do(noise: float) -> None:
    """Between one τ above all similarities and one below them, for two images of patches and of merged regions."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(2, 8, 3, 4, generator=generator), (12, 14), mode="bilinear")
    tokens = unit_tokens(smooth + noise * torch.randn(2, 8, 12, 14, generator=generator))
    options, regions = UniAP(feature_weight=0.6), Regions.of_patches(2, 12, 14, torch.device("cpu"))
    pooled = tokens.flatten(0, 1)
    for _ in range(2):
        edges, means = regions.edges(), regions.means(tokens)
        first, second = edges.T
        rows = torch.einsum("rd,rpd->rp", means, tokens[regions.images()])
        similar = 0.6 * (pooled[first] * pooled[second]).sum(1) + 0.4 * (1 - (rows[first] - rows[second]).abs().mean(1))
        for tau in torch.linspace(float(similar.min()) - 0.01, float(similar.max()) + 0.01, 9).tolist():
            alike = options._are_alike(regions, edges, pooled, tokens, tau=tau)
            clear = (similar - tau).abs() > 1e-5
            assert torch.equal(alike[clear], (similar >= tau)[clear])
        regions = regions.merge(edges[similar >= similar.median()])
        pooled = options._pool(regions, tokens)
