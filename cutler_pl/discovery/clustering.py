"""Clusters of features: k-means with a given number of clusters or the best one, and HDBSCAN; by scikit-learn.

Large sets: k-means goes on in mini-batches above `_FULL` objects; HDBSCAN and the silhouette see a random sample, and
for HDBSCAN the other objects join their nearest neighbour's cluster.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from cutler_pl.discovery.options import DiscoverOptions, Method
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.imports import require

Features = Float32[np.ndarray, "objects dim"]
Labels = Int64[np.ndarray, " objects"]

_FULL = 20_000
_SILHOUETTE_SAMPLE = 2_000
_STARTS = 4


@dataclass(frozen=True)
class Clustering:
    """Cluster of each object, from 1 in the order of their size; 0 for none.

    Attributes:
        numbers: One per object.
        silhouettes: Mean silhouette for each number of clusters that was tried.
    """

    numbers: Labels
    silhouettes: dict[int, float] = field(default_factory=dict)


def cluster(features: Features, options: DiscoverOptions) -> Clustering:
    """Group vectors of length 1.

    Raises:
        ConfigError: There are fewer objects than clusters are asked for.
        OptionalDependencyError: scikit-learn is not installed.
    """
    _sklearn("cluster")
    reduced = _reduce(features, options)
    labels, silhouettes = METHODS[options.method](reduced, options)
    return Clustering(_by_size(labels), silhouettes)


def _kmeans(features: Features, options: DiscoverOptions) -> tuple[Labels, dict[int, float]]:
    count = len(features)
    if options.k is not None:
        if options.k > count:
            raise ConfigError(f"k={options.k}: there are only {count} objects; choose a k of at most {count}")
        return _fit_kmeans(features, options.k, options.seed), {}
    best = np.zeros(count, dtype=np.int64)
    silhouettes: dict[int, float] = {}
    for k in range(2, min(options.max_k, count - 1) + 1):
        labels = _fit_kmeans(features, k, options.seed)
        silhouettes[k] = _silhouette(features, labels, options.seed)
        if silhouettes[k] == max(silhouettes.values()):
            best = labels
    return best, silhouettes


def _hdbscan(features: Features, options: DiscoverOptions) -> tuple[Labels, dict[int, float]]:
    if options.min_cluster_size > len(features):
        raise ConfigError(
            f"min_cluster_size={options.min_cluster_size}: there are only {len(features)} objects; choose a smaller one"
        )
    sample = _sample(len(features), _FULL, options.seed)
    model = _sklearn("cluster").HDBSCAN(min_cluster_size=options.min_cluster_size, copy=True)
    labels = np.asarray(model.fit_predict(features[sample]), dtype=np.int64)
    if len(sample) < len(features):
        neighbours = _sklearn("neighbors").KNeighborsClassifier(1).fit(features[sample], labels)
        labels = np.asarray(neighbours.predict(features), dtype=np.int64)
    return labels, {}


METHODS: Mapping[Method, Callable[[Features, DiscoverOptions], tuple[Labels, dict[int, float]]]] = MappingProxyType(
    {"kmeans": _kmeans, "hdbscan": _hdbscan}
)


def _fit_kmeans(features: Features, k: int, seed: int) -> Labels:
    module = _sklearn("cluster")
    kind = module.KMeans if len(features) <= _FULL else module.MiniBatchKMeans
    model = kind(k, n_init=_STARTS, random_state=seed)
    return np.asarray(model.fit_predict(features), dtype=np.int64)


def _silhouette(features: Features, labels: Labels, seed: int) -> float:
    sample = _sample(len(features), _SILHOUETTE_SAMPLE, seed)
    if not 1 < len(np.unique(labels[sample])) < len(sample):
        return -1.0
    return float(_sklearn("metrics").silhouette_score(features[sample], labels[sample]))


def _reduce(features: Features, options: DiscoverOptions) -> Float32[np.ndarray, "objects components"]:
    """The first principal components; the features where there are no more of them."""
    if options.components is None or options.components >= min(features.shape):
        return features
    sample = _sample(len(features), _FULL, options.seed)
    model = _sklearn("decomposition").PCA(options.components, random_state=options.seed).fit(features[sample])
    return np.asarray(model.transform(features), dtype=np.float32)


def _sample(count: int, most: int, seed: int) -> Int64[np.ndarray, " sample"]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _by_size(labels: Labels) -> Labels:
    """Numbers from 1, the largest cluster first; 0 for labels below 0."""
    found, sizes = np.unique(labels[labels >= 0], return_counts=True)
    numbers = np.zeros(int(labels.max(initial=-1)) + 2, dtype=np.int64)
    numbers[found[np.argsort(-sizes, kind="stable")]] = np.arange(1, len(found) + 1)
    return np.asarray(numbers[labels])  # label -1 is the last entry, which stays 0


def _sklearn(module: str) -> ModuleType | Any:
    return require(f"sklearn.{module}", extra="discover", purpose="discover")
