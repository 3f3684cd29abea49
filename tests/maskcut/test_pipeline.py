import pytest
import torch
from recorded_cuts import dropped

from cutler_pl.errors import ConfigError, InputError
from cutler_pl.maskcut import MaskCutParams, maskcut, pipeline
from cutler_pl.maskcut.affinity import PatchGraph
from cutler_pl.maskcut.ncut import Eigenpairs, LanczosSolver, ScipySolver

from .conftest import no_fallback


def draw_features(*rows: str, dim: int = 12, noise: float = 0.1, seed: int = 0) -> torch.Tensor:
    """Features of one image drawn with letters: equal letters have one direction, with noise."""
    generator = torch.Generator().manual_seed(seed)
    letters = sorted(set("".join(rows)))
    directions = torch.eye(len(letters), dim)
    label = torch.tensor([[letters.index(c) for c in row] for row in rows])
    features = directions[label] + noise * torch.randn(*label.shape, dim, generator=generator) / dim**0.5
    return features.permute(2, 0, 1)[None]


def draw_mask(letter: str, *rows: str) -> torch.Tensor:
    return torch.tensor([[c == letter for c in row] for row in rows])


SCENE = (
    "..............",
    ".aaaa.........",
    ".aaaa....bbb..",
    ".aaaa....bbb..",
    ".aaaa....bbb..",
    "..............",
    "..............",
    "..............",
    "..............",
)


class CountingSolver:
    """The reference solver, with a count of the graphs it was given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        self.graphs += len(graph.images)
        return ScipySolver()(graph)


@pytest.mark.usefixtures("kernels_on_the_cpu")
def test_kernel_batch_equals_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_chunks", lambda features: [features])  # as on an accelerator
    features = torch.cat([draw_features(*SCENE, seed=seed) for seed in range(4)] + [torch.zeros(1, 12, 9, 14)])
    params = MaskCutParams(num_masks=4)
    together = maskcut(features, params, solver="lanczos")
    for i in range(5):
        alone = maskcut(features[i : i + 1], params, solver="lanczos")
        assert torch.equal(together.masks[i], alone.masks[0])
        torch.testing.assert_close(together.eigenvectors[i], alone.eigenvectors[0], rtol=0, atol=1e-11)
        torch.testing.assert_close(together.ncut_values[i], alone.ncut_values[0], rtol=0, atol=1e-12, equal_nan=True)


def test_stop_at_max_ncut_value() -> None:
    features = draw_features(*SCENE, noise=0.3)
    everything = maskcut(features, MaskCutParams(num_masks=4))
    values = everything.ncut_values[0]
    assert values[:2].max() < values[2]
    between = float(values[1:3].mean())
    by_value = maskcut(features, MaskCutParams(num_masks=4, stop="ncut_value", max_ncut_value=between))
    assert torch.equal(by_value.masks[0, :2], everything.masks[0, :2])
    assert by_value.masks[0, :2].flatten(1).any(1).all()
    assert not by_value.masks[0, 2:].any()
    assert dropped(by_value)[0].tolist() == [False, False, True, True]
    assert not maskcut(features, MaskCutParams(stop="adaptive", max_ncut_value=1e-9)).masks.any()


def test_an_object_that_takes_the_border_is_background() -> None:
    # two thirds of the image are one side of the cut: with two corners only, the corner rule lets it pass
    rows = ["aaaaaa...", "aaaaaa...", "aaaaaa...", "aaaaaa...", "aaaaaa..."]
    features = draw_features(*rows)
    for max_border, kept in ((0.9, True), (0.2, False)):
        result = maskcut(features, MaskCutParams(num_masks=1, stop="foreground", max_border=max_border))
        assert bool(result.masks.any()) == kept


def test_autocast_around_the_cut_changes_nothing() -> None:
    features = torch.randn(1, 6, 14, 15) + torch.randn(1, 6, 1, 15)
    expected = maskcut(features, MaskCutParams())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = maskcut(features, MaskCutParams())
    assert torch.equal(found.masks, expected.masks)
    assert torch.equal(found.eigenvectors, expected.eigenvectors)


def test_one_object_per_round_on_oblong_grid() -> None:
    result = maskcut(draw_features(*SCENE), MaskCutParams(num_masks=2))
    found = {m.numpy().tobytes() for m in result.masks[0]}
    assert found == {draw_mask(letter, *SCENE).numpy().tobytes() for letter in "ab"}
    assert result.masks.shape == result.eigenvectors.shape == (1, 2, 9, 14)


def test_the_transposed_image_has_the_transposed_masks() -> None:
    features = draw_features(*SCENE)
    upright = maskcut(features, MaskCutParams(num_masks=2)).masks
    lying = maskcut(features.transpose(2, 3), MaskCutParams(num_masks=2)).masks
    assert torch.equal(lying.transpose(2, 3), upright)


def test_eigenvectors_are_positive_on_chosen_side() -> None:
    result = maskcut(draw_features(*SCENE), MaskCutParams(num_masks=2))
    for mask, vector in zip(result.masks[0], result.eigenvectors[0], strict=True):
        assert (vector[mask] > 0).all()
        assert vector[mask].mean() > vector[~mask].mean()


def test_dropped_round_is_empty_and_reused() -> None:
    """The next round takes its cut without solving again."""
    one_object = (".......", ".......", "..aaa..", "..aaa..", ".......", ".......")
    solver = CountingSolver()
    features = torch.cat([draw_features(*one_object, noise=1.2, seed=5)])
    result = maskcut(features, MaskCutParams(num_masks=4), solver=solver)
    reused = dropped(result)[0, :-1]
    assert reused.any()
    assert solver.graphs == 4 - reused.sum()
    for r in range(1, 4):
        if reused[r - 1]:
            assert torch.equal(result.eigenvectors[0, r], result.eigenvectors[0, r - 1])


def test_stop_dropped_ends_at_the_first_dropped_round() -> None:
    one_object = (".......", ".......", "..aaa..", "..aaa..", ".......", ".......")
    features = draw_features(*one_object, noise=1.2, seed=5)
    original = dropped(maskcut(features, MaskCutParams(num_masks=6)))[0]
    adaptive = dropped(maskcut(features, MaskCutParams(num_masks=6, stop="dropped")))[0]
    first = int(original.int().argmax())
    assert not original[first:].all()
    assert adaptive.tolist() == original[:first].tolist() + [True] * (6 - first)


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = [draw_features(*SCENE, noise=n, seed=s) for n, s in ((0.3, 0), (1.0, 1), (2.0, 2))]
    images.insert(1, torch.ones_like(images[0]))
    params = MaskCutParams()
    together = maskcut(torch.cat(images), params)
    for i, image in enumerate(images):
        alone = maskcut(image, params)
        assert torch.equal(together.masks[i], alone.masks[0])
        assert torch.equal(together.eigenvectors[i], alone.eigenvectors[0])


@pytest.mark.parametrize("solver", ["lanczos", "scipy"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_image_without_any_contrast_has_no_object(value: float, solver: str) -> None:
    result = maskcut(torch.full((2, 8, 5, 6), value), MaskCutParams(), solver=solver)
    assert not result.masks.any()
    assert (result.eigenvectors == 0).all()
    assert result.ncut_values.isnan().all()


@pytest.mark.parametrize("solver", ["lanczos", "scipy"])
@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 2), (1, 17), (13, 1)])
def test_tiny_grids_give_finite_results(grid: tuple[int, int], solver: str) -> None:
    result = maskcut(torch.randn(2, 6, *grid), MaskCutParams(), solver=solver)
    assert result.masks.shape == (2, 3, *grid)
    assert result.eigenvectors.isfinite().all()
    if grid == (1, 1):
        assert not result.masks.any()


@pytest.mark.parametrize("solver", ["lanczos", "scipy"])
def test_two_different_patches_are_separated(solver: str) -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    assert maskcut(features, MaskCutParams(num_masks=1), solver=solver).masks.sum() == 1


def test_an_empty_batch_gives_empty_results() -> None:
    result = maskcut(torch.zeros(0, 6, 5, 4), MaskCutParams())
    assert result.masks.shape == (0, 3, 5, 4)
    assert result.ncut_values.shape == (0, 3)


def test_a_clean_image_needs_no_full_decomposition() -> None:
    result = maskcut(draw_features(*SCENE, noise=0.0), MaskCutParams(), solver=LanczosSolver(reference=no_fallback))
    assert {m.numpy().tobytes() for m in result.masks[0, :2]} == {draw_mask(c, *SCENE).numpy().tobytes() for c in "ab"}


def test_refuse_nan_naming_the_image() -> None:
    features = torch.randn(3, 4, 5, 5)
    features[2, 0, 1, 1] = torch.nan
    with pytest.raises(InputError, match=r"images \[2\] of the batch hold NaN"):
        maskcut(features, MaskCutParams())


def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(ConfigError, match="'magic' is unknown"):
        maskcut(torch.randn(1, 4, 5, 5), MaskCutParams(), solver="magic")


def test_features_are_left_as_they_were() -> None:
    features = torch.randn(1, 4, 6, 6)
    before = features.clone()
    maskcut(features, MaskCutParams())
    assert torch.equal(features, before)
