"""Groups the masks of a COCO file by the features inside them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from cutler_pl.coco.parameters import record_parameters
from cutler_pl.discovery.cluster_names import write_names
from cutler_pl.discovery.clustering import cluster
from cutler_pl.discovery.feature_store import ObjectFeatures, read_or_compute
from cutler_pl.discovery.options import DiscoverOptions
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.runtime.files import atomic_write, file_digest
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.output_folder import refuse_foreign_folder

log = get_logger(__name__)

NAMES_FILE, FEATURES_FOLDER, CLUSTERS_FOLDER = "clusters.yaml", "features", "clusters"
CLASSES_FILE = "annotations.json"
_ASSIGNMENTS = "assignments.npz"


@dataclass(frozen=True)
class Clusters:
    """The objects of a COCO file with their features and clusters, in the order of the images.

    Attributes:
        annotations: The file.
        annotation_ids: Of the objects.
        features: One vector of length 1 per object.
        numbers: Cluster of each object, from 1 in the order of their size; 0 for none.
        failures: Reason per image that could not be read, whose objects are not here.
        silhouettes: Mean silhouette for each number of clusters that was tried.
    """

    annotations: Path
    annotation_ids: Int64[np.ndarray, " objects"]
    features: Float32[np.ndarray, "objects dim"]
    numbers: Int64[np.ndarray, " objects"]
    failures: Mapping[str, str] = field(default_factory=dict)
    silhouettes: Mapping[int, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of clusters."""
        return int(self.numbers.max(initial=0))

    @property
    def sizes(self) -> list[int]:
        """Number of objects of cluster 1, 2, …"""
        return [int(size) for size in np.bincount(self.numbers, minlength=self.count + 1)[1:]]

    @cached_property
    def typicality(self) -> Float32[np.ndarray, " objects"]:
        """Cosine of each object with the mean of its cluster; 0 outside of all."""
        found = np.zeros(len(self.numbers), dtype=np.float32)
        for number in range(1, self.count + 1):
            members = self.numbers == number
            mean = self.features[members].mean(0)
            found[members] = self.features[members] @ mean / max(float(np.linalg.norm(mean)), 1e-12)
        return found


def discover(
    annotations: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    extractor: FeatureExtractor,
    fixed_size: int,
    options: DiscoverOptions | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Clusters:
    """Group the objects of a COCO file; `clusters.yaml` in the output folder is the file to name the clusters in.

    What the folder holds already, made with the same settings, is kept: features in parts of some hundred images.

    Args:
        annotations: COCO file with masks; its categories are not looked at, crowds are left out.
        images: Folder that its file names are relative to.
        output: Folder for the features, the clusters and `clusters.yaml`.
        extractor: Computes the patch features.
        fixed_size: Side of the square to which images are resized, a multiple of the patch size.
        options: How the objects are grouped.
        settings: What else the features depend on, such as the extractor's name, in JSON's types.
        overwrite: Replace results of other settings, and `clusters.yaml`.

    Raises:
        ConfigError: The folder holds results of other settings or of another command, or there are too few objects.
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is invalid, has less than two objects, or an object has no mask.
        TooManyFailuresError: Too many images cannot be read.
        OptionalDependencyError: scikit-learn is not installed.
    """
    annotations, images, output = Path(annotations), Path(images), Path(output)
    options = options or DiscoverOptions()
    if fixed_size % extractor.patch_size:
        raise ConfigError(
            f"fixed_size={fixed_size} is not a multiple of the patch size {extractor.patch_size} of the features"
        )
    if extractor.dim is None:
        raise ConfigError(
            "maskcut.features.heads=object takes other heads in each image, whose features cannot be compared between "
            "images; leave it out"
        )
    refuse_foreign_folder(output, f"{FEATURES_FOLDER}/parameters.json", "discover", overwrite=overwrite)
    made_from = {
        "annotations": file_digest(annotations),
        "images": str(images.resolve()),
        "fixed_size": fixed_size,
        "patch_size": extractor.patch_size,
        "dim": extractor.dim,
        "on_error": options.on_error,
        **(settings or {}),
    }
    _begin(output / FEATURES_FOLDER, made_from, overwrite=overwrite)
    features = read_or_compute(
        annotations, images, output / FEATURES_FOLDER, extractor=extractor, fixed_size=fixed_size, options=options
    )
    _begin(output / CLUSTERS_FOLDER, {**made_from, **options.constants()}, overwrite=overwrite)
    found = _read_or_cluster(output / CLUSTERS_FOLDER / _ASSIGNMENTS, annotations, features, options)
    names = output / NAMES_FILE
    if overwrite or not names.exists():
        write_names(names, found.sizes)
    log.info("%d objects in %d clusters, %d in none", len(found.numbers), found.count, int((found.numbers == 0).sum()))
    return found


def _read_or_cluster(path: Path, annotations: Path, features: ObjectFeatures, options: DiscoverOptions) -> Clusters:
    if not path.is_file():
        made = cluster(features.values, options)
        tried = np.array([*made.silhouettes.items()], dtype=np.float64).reshape(-1, 2)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, numbers=made.numbers, silhouettes=tried)
    with np.load(path, allow_pickle=False) as stored:
        numbers, tried = stored["numbers"], stored["silhouettes"]
    if len(numbers) != len(features.annotation_ids):  # images that could be read then and not now, or the reverse
        path.unlink()
        return _read_or_cluster(path, annotations, features, options)
    silhouettes = {int(k): float(value) for k, value in tried}
    return Clusters(
        annotations, features.annotation_ids, features.values, numbers, dict(features.failures), silhouettes
    )


def _begin(folder: Path, parameters: Mapping[str, Any], *, overwrite: bool) -> None:
    try:
        record_parameters(folder, parameters)
    except ConfigError as error:
        if not overwrite:
            raise ConfigError(f"{error}, or add overwrite=true") from error
        shutil.rmtree(folder)
        record_parameters(folder, parameters)
