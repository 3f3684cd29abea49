"""What holds of every generator: a batch is its images, refusals, and the same masks on a GPU."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler_pl.errors import ConfigError, InputError
from cutler_pl.generators.hassod import Hassod
from cutler_pl.generators.promerge import ProMerge
from cutler_pl.generators.tokens import contrast
from cutler_pl.generators.uniap import UniAP
from cutler_pl.generators.votecut import VoteCut
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.descriptors import PatchDescriptors
from cutler_pl.maskcut.generator import Generator, MaskCutGenerator
from cutler_pl.maskcut.predictor import MaskPredictor
from cutler_pl.runtime.config_tree import config_dir

GENERATORS: dict[str, Generator] = {
    "maskcut": MaskCutGenerator(MaskCutParams(tau=0.8)),
    "promerge": ProMerge(tau=0.8, max_background_similarity=0.8),
    "uniap": UniAP(taus=(0.9, 0.7), min_patches=4),
    "hassod": Hassod(min_patches=4),
    "votecut": VoteCut(taus=(0.5, 0.8), min_patches=4),
}


def pixels() -> torch.Tensor:
    """Three images of 96 pixels: discs of other colors on grey, one of them uniform."""
    draw = torch.Generator().manual_seed(3)
    images = torch.randint(100, 120, (3, 3, 96, 96), generator=draw, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    for image, (cy, cx, radius) in enumerate(((40, 40, 22), (60, 55, 28))):
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        images[image, image, disc] += 110
    images[2] = 90
    return images


def predict(generator: Generator, images: torch.Tensor) -> list:
    predictor = MaskPredictor({"p": PatchDescriptors().to(images.device)}, generator, backend="none")
    return predictor.predict([str(number) for number in range(len(images))], images)


@pytest.mark.parametrize("name", GENERATORS)
def test_batch_equals_images_alone(name: str) -> None:
    """In any order: the masks, scores and provenance of an image do not depend on its batch."""
    images = pixels()
    together = predict(GENERATORS[name], images)
    backwards = predict(GENERATORS[name], images.flip(0))[::-1]
    assert any(found.refined.any() for found in together)
    for number, found in enumerate(together):
        (alone,) = predict(GENERATORS[name], images[number : number + 1])
        for other in (alone, backwards[number]):
            assert torch.equal(found.coarse, other.coarse)
            assert torch.equal(found.refined, other.refined)
            torch.testing.assert_close(found.scores, other.scores, equal_nan=True)
            assert str(found.provenance) == str(other.provenance)


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 1000))
@pytest.mark.parametrize("name", GENERATORS)
def test_permuted_images_give_permuted_candidates(name: str, order: list[int], seed: int) -> None:
    """Of smooth random features with noise, on a grid that is no square."""
    features = smooth_features(seed)
    images = torch.zeros(4, 3, 80, 96, dtype=torch.uint8)
    straight = GENERATORS[name].propose(images, {"a": features})
    permuted = GENERATORS[name].propose(images, {"a": features[order]})
    for found, number in zip(permuted, order, strict=True):
        assert torch.equal(found.masks, straight[number].masks)
        torch.testing.assert_close(found.scores, straight[number].scores, equal_nan=True)
        assert found.provenance == straight[number].provenance


def smooth_features(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.randn(4, 6, 3, 3, generator=draw), (10, 12), mode="bilinear")
    return smooth + 0.05 * torch.randn(4, 6, 10, 12, generator=draw)


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", GENERATORS)
def test_gpu_proposes_what_the_cpu_does(name: str, seed: int) -> None:
    features, images = smooth_features(seed), torch.zeros(4, 3, 80, 96, dtype=torch.uint8)
    on_gpu = GENERATORS[name].propose(images.cuda(), {"a": features.cuda()})
    for found, expected in zip(on_gpu, GENERATORS[name].propose(images, {"a": features}), strict=True):
        assert found.masks.is_cuda
        assert torch.equal(found.masks.cpu(), expected.masks)
        torch.testing.assert_close(found.scores.cpu(), expected.scores, equal_nan=True, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", GENERATORS)
def test_cached_features_on_gpu(name: str, tmp_path: Path) -> None:
    """The first run and the second find the same masks, and so does one on the CPU."""
    found = []
    for device in ("cuda", "cuda", "cpu"):
        extractor = build_feature_extractor("patch_descriptors", device=device, cache=tmp_path)
        predictor = MaskPredictor({"p": extractor}, GENERATORS[name], backend="none")
        found.append(predictor.predict(["0", "1", "2"], pixels().to(device)))
    assert extractor.num_computed == 0
    for first, *others in zip(*found, strict=True):
        assert all(torch.equal(first.refined, other.refined) for other in others)


@pytest.mark.gpu
@pytest.mark.parametrize("name", GENERATORS)
def test_gpu_equals_cpu(name: str) -> None:
    for found, other in zip(
        predict(GENERATORS[name], pixels()), predict(GENERATORS[name], pixels().cuda()), strict=True
    ):
        assert torch.equal(found.coarse, other.coarse)
        assert torch.equal(found.refined, other.refined)
        torch.testing.assert_close(found.scores, other.scores, equal_nan=True, atol=1e-4, rtol=1e-4)


def test_contrast_by_hand() -> None:
    """A mask of two patches (1, 0) beside (0.6, 0.8) and (0, 1), within reach, and (1, 0) beyond: 1 less 0.3; that of
    all patches has nothing around it: the mean cosine with their mean, (3.6, 1.8) / 5, is the whole."""
    row = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    masks = torch.tensor([[[True, True, False, False, False]], [[True] * 5]])
    whole = (3.6 * 3.6 + 1.8 * 1.8) / (5 * (3.6**2 + 1.8**2) ** 0.5)
    torch.testing.assert_close(contrast(masks, row), torch.tensor([0.7, whole]))


@pytest.mark.parametrize("name", GENERATORS)
def test_refuse_features_that_are_not_finite(name: str) -> None:
    features = torch.ones(2, 3, 8, 8)
    features[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"images \[1\] of the batch hold NaN"):
        GENERATORS[name].propose(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), {"a": features})


@pytest.mark.parametrize("name", ["maskcut", "promerge", "uniap", "hassod"])
def test_refuse_several_backbones(name: str) -> None:
    features = {"a": torch.ones(1, 3, 8, 8), "b": torch.ones(1, 3, 8, 8)}
    with pytest.raises(InputError, match=f"generator={name} takes the features of one backbone, and 2 are given"):
        GENERATORS[name].propose(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), features)


@pytest.mark.parametrize("kind", [ProMerge, UniAP, Hassod, VoteCut])
def test_option_file_holds_all_defaults(kind: type) -> None:
    values = yaml.safe_load((config_dir() / "generator" / f"{kind.name}.yaml").read_text())["generator"]
    assert values.pop("_target_") == f"{kind.__module__}.{kind.__name__}"
    assert kind(**values) == kind()
    assert [*values] == [field.name for field in fields(kind)]


def test_refuse_value_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"generator\.tau=2\.0: expected a number from -1 to 1"):
        ProMerge(tau=2.0)
