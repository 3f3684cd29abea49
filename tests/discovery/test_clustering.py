import numpy as np
import pytest

from cutler_pl.discovery import clustering
from cutler_pl.discovery.clustering import cluster
from cutler_pl.discovery.options import DiscoverOptions
from cutler_pl.errors import ConfigError, OptionalDependencyError

SIZES = (30, 12, 20)


def blobs(dim: int = 8, spread: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.eye(dim)[i] + rng.normal(0, spread, (size, dim)) for i, size in enumerate(SIZES)])
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


EXPECTED = np.repeat([1, 3, 2], SIZES)
"""Numbers follow the size."""


@pytest.mark.parametrize(
    "options",
    [
        DiscoverOptions(k=3),
        DiscoverOptions(),
        DiscoverOptions(k=3, components=2),
        DiscoverOptions(method="hdbscan"),
    ],
    ids=["k", "silhouette", "components", "hdbscan"],
)
def test_find_blobs_largest_first(options: DiscoverOptions) -> None:
    np.testing.assert_array_equal(cluster(blobs(), options).numbers, EXPECTED)


def test_silhouettes_say_why() -> None:
    tried = cluster(blobs(), DiscoverOptions(max_k=6)).silhouettes
    assert list(tried) == [2, 3, 4, 5, 6]
    assert max(tried, key=tried.__getitem__) == 3


def test_hdbscan_leaves_out_noise() -> None:
    far = np.zeros((1, 8), dtype=np.float32)
    far[0, 7] = 1
    found = cluster(np.concatenate([blobs(), far]), DiscoverOptions(method="hdbscan")).numbers
    np.testing.assert_array_equal(found, [*EXPECTED, 0])


def test_equal_features_are_one_or_two_clusters() -> None:
    found = cluster(np.ones((4, 3), np.float32), DiscoverOptions(method="hdbscan", min_cluster_size=2)).numbers
    assert set(found.tolist()) <= {0, 1}
    assert cluster(np.ones((2, 3), np.float32), DiscoverOptions(k=1)).numbers.tolist() == [1, 1]


def test_two_objects_without_k_are_one_cluster() -> None:
    assert cluster(blobs()[:2], DiscoverOptions()).numbers.tolist() == [1, 1]


def test_large_sets_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_FULL", 40)
    monkeypatch.setattr(clustering, "_SILHOUETTE_SAMPLE", 30)
    for options in (DiscoverOptions(max_k=5), DiscoverOptions(method="hdbscan")):
        np.testing.assert_array_equal(cluster(blobs(), options).numbers, EXPECTED)


def test_refuse_more_clusters_than_objects() -> None:
    with pytest.raises(ConfigError, match=r"k=9: there are only 3 objects; choose a k of at most 3"):
        cluster(blobs()[:3], DiscoverOptions(k=9))
    with pytest.raises(ConfigError, match=r"min_cluster_size=5: there are only 3 objects"):
        cluster(blobs()[:3], DiscoverOptions(method="hdbscan"))


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.cluster", None)
    with pytest.raises(OptionalDependencyError, match=r"pip install 'cutler_pl\[discover\]'"):
        cluster(blobs(), DiscoverOptions())
