"""Features on disk: the same values in every run, none of other images, weights or settings."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cutler_pl.errors import ConfigError, InputError, OutputWriteError
from cutler_pl.maskcut import build_feature_extractor
from cutler_pl.maskcut.feature_cache import CachedFeatures, weights_digest


class Patches(nn.Module):
    """Means of patches of 4 pixels times a weight; counts the images that it sees."""

    patch_size = 4

    def __init__(self, weight: float = 1.0, dim: int | None = 3) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        return torch.nn.functional.avg_pool2d(images, 4) * self.weight


def images(count: int = 3, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 12), generator=draw) / 255


def cached(folder: Path, extractor: nn.Module | None = None, **settings: Any) -> CachedFeatures:
    return CachedFeatures(extractor or Patches(), folder, settings={"name": "patches", **settings})


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_later_runs_read_the_first_runs_values(tmp_path: Path) -> None:
    first = cached(tmp_path)(images())
    assert torch.equal(first, Patches()(images()).half().float())
    extractor = Patches()
    later = cached(tmp_path, extractor)
    assert torch.equal(later(images().flip(0)).flip(0), first)
    assert torch.equal(later(images()[1:2]), first[1:2])
    assert (extractor.seen, later.num_read, later.num_computed) == ([], 4, 0)
    assert first.dtype == torch.float32


def test_batch_with_missing_image_is_computed_whole(tmp_path: Path) -> None:
    cached(tmp_path)(images()[:1])
    extractor = Patches()
    model = cached(tmp_path, extractor)
    model(images())
    assert (extractor.seen, model.num_read, model.num_computed) == ([3], 1, 2)
    assert len(stored(tmp_path)) == 3


def test_image_that_changed_is_another(tmp_path: Path) -> None:
    model, image = cached(tmp_path), images(1)
    model(image)
    image[0, 0, 0, 0] += 1 / 255
    assert torch.equal(model(image), Patches()(image).half().float())
    model(images(1).transpose(2, 3))
    assert model.num_computed == 3


def test_precision_of_the_run_counts(tmp_path: Path) -> None:
    model = cached(tmp_path)
    model(images(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(images(1))
    assert model.num_computed == 2


def test_refuse_cache_of_other_weights(tmp_path: Path) -> None:
    cached(tmp_path)
    message = (
        r"patches: holds features made with weights=\w{64} where \w{64} is asked for now; repeat the former settings"
    )
    with pytest.raises(ConfigError, match=message):
        cached(tmp_path, Patches(2.0))


def test_refuse_cache_of_other_settings(tmp_path: Path) -> None:
    cached(tmp_path, layer=11)
    with pytest.raises(ConfigError, match=r"made with layer=11 where 5 is asked for now"):
        cached(tmp_path, layer=5)


@pytest.mark.parametrize("change", [lambda data: data[:-7], lambda data: b"", lambda data: b"x" + data[1:]])
def test_damaged_file_is_computed_again(change: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = cached(tmp_path)(images(1))
    (path,) = stored(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert torch.equal(cached(tmp_path)(images(1)), first)
    assert "damaged, or of other features; computed again" in caplog.text
    assert path.read_bytes() == whole


def test_file_of_other_weights_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached(tmp_path / "a")(images(1))
    other = cached(tmp_path / "b", Patches(2.0))
    expected = other(images(1))
    stored(tmp_path / "b")[0].write_bytes(stored(tmp_path / "a")[0].read_bytes())
    assert torch.equal(other(images(1)), expected)
    assert "of other features" in caplog.text


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    models = [cached(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda model: model(images(8)), models))
    assert all(torch.equal(one, found[0]) for one in found)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".npy", ".json"}


def test_refuse_features_too_large_for_half(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"patches: features above 65504 do not fit .* leave maskcut.features.cache"):
        cached(tmp_path, Patches(1e6))(images(1))


def test_features_that_are_not_finite_stay_out(tmp_path: Path) -> None:
    assert cached(tmp_path, Patches(torch.nan))(images(1)).isnan().all()
    assert not stored(tmp_path)


def test_features_of_differing_length(tmp_path: Path) -> None:
    """Zeros fill those of the shorter ones; on the disk they are left out, whatever the batch was."""
    short, long = images(1), images(1, seed=1)
    short[:, 1:] = 0
    together = cached(tmp_path / "a", Patches(dim=None))(torch.cat([short, long]))
    alone = cached(tmp_path / "b", Patches(dim=None))
    assert alone(short).shape[1] == 1
    assert torch.equal(together[:1, :1], alone(short))
    assert torch.equal(together[1:], alone(long))
    assert [path.stat().st_size for path in stored(tmp_path / "a")] == [
        path.stat().st_size for path in stored(tmp_path / "b")
    ]


def test_refuse_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError, match="lies below a file"):
        cached(tmp_path / "file")


def test_digest_is_of_names_and_values() -> None:
    assert weights_digest(Patches()) == weights_digest(Patches())
    assert len({weights_digest(one) for one in (Patches(), Patches(2.0), nn.Linear(1, 1), nn.Identity())}) == 4


def test_sides_of_cells_have_folders_of_their_own(tmp_path: Path) -> None:
    for side in (6, 8):
        extractor = build_feature_extractor("patch_descriptors", patch_size=side, cache=tmp_path)
        assert extractor(torch.rand(1, 3, 24, 24)).shape[1] == extractor.dim == 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patch_descriptors_6", "patch_descriptors_8"]


@pytest.mark.gpu
def test_gpu_reads_what_the_cpu_wrote(tmp_path: Path) -> None:
    first = cached(tmp_path)(images())
    model = cached(tmp_path).cuda()
    found = model((images() * 255).round().byte().cuda().float() / 255)
    assert found.is_cuda
    assert torch.equal(found.cpu(), first)
    assert model.num_computed == 0
