"""How a MaskCut run over a dataset goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.ops.tiles import TileParams
from cutler_pl.runtime.ranges import Count, Integer, Share, check_fields


@dataclass(frozen=True)
class JobShard:
    """Which of how many parts of a job array this is; the whole run by default.

    Raises:
        ConfigError: There is no such part.
    """

    index: int = 0
    count: Count = 1

    def __post_init__(self) -> None:
        check_fields(self, "job.")
        if self.index >= self.count:
            raise ConfigError(
                f"job.index={self.index} with job.count={self.count}: the index runs from 0 to {self.count - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `generate`.

    Attributes:
        fixed_size: Side of the square to which images are resized, in pixels.
        batch_size: Images per batch and process; halved where memory runs out.
        num_workers: Loader processes that decode, per process.
        threads: Threads that resize and encode masks beside the device, per process.
        max_failure_rate: Largest share of failed images that still counts as success.
        tiles: How images larger than a tile are cut, each tile as an image of its own; None for whole images.
        annotation: What is written of a mask beyond the original's annotation.
        settings: What else the results depend on, such as the input and the features' name, in JSON's types.
        shard: Which part of a job array this is; the last part to finish merges.
    """

    fixed_size: Annotated[int, Integer(1, 4096)]
    batch_size: Count
    num_workers: int
    threads: Annotated[int, Integer(1, 1024)]
    max_failure_rate: Share
    tiles: TileParams | None = None
    annotation: AnnotationParams = field(default_factory=AnnotationParams)
    settings: Mapping[str, Any] = field(default_factory=dict)
    shard: JobShard = field(default_factory=JobShard)

    def __post_init__(self) -> None:
        check_fields(self)
