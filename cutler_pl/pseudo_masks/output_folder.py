"""The output folder of a MaskCut run: who may write there, what is done, and the merge at the end.

`shards/` holds what is done so far; `annotations.json` and `failures.jsonl` are merged from it when all is done. The
parts of a job array share the folder, each with its own shard files, and the last to finish merges.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cutler_pl.coco.failures import FAILURES_NAME
from cutler_pl.errors import AnnotationError, ConfigError, OutputLockedError
from cutler_pl.pseudo_masks.merge import MergeReport, merge_shards
from cutler_pl.pseudo_masks.options import JobShard
from cutler_pl.pseudo_masks.shards import Progress, begin_run, read_progress
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

COMPARISON_NAME = "comparison.json"
"""By which a folder is known as that of a comparison of generators, which no run of one generator writes into."""


class OutputFolder:
    """The output folder as one run, or one part of it, sees it."""

    def __init__(self, folder: str | Path, part: JobShard | None = None) -> None:
        part = part or JobShard()
        self.annotations = Path(folder) / "annotations.json"
        self.failures = Path(folder) / FAILURES_NAME
        self.shards = Path(folder) / "shards"
        self._folder = Path(folder)
        self._part = part
        self._name = f"part-{part.index:05d}-of-{part.count:05d}"
        self._finished = self.shards / f"{self._name}.done"

    def lock(self) -> AbstractContextManager[Any]:
        """Hold the folder against other runs.

        Raises:
            OutputLockedError: Another run, or another process with the same part, is writing there.
        """
        if self._part.count == 1:
            return file_lock(self._folder, purpose="maskcut")
        purpose = f"maskcut part {self._part.index} of {self._part.count}"
        return file_lock(self._folder, purpose=purpose, part=self._name, timeout=60.0)

    def begin(self, parameters: Mapping[str, Any], names: Sequence[str]) -> None:
        """Record what the results depend on, or find it unchanged; see `begin_run`.

        Raises:
            ConfigError: The folder holds results of other parameters, annotations that no run made, or a comparison.
        """
        if self.annotations.exists() and not self.shards.is_dir():
            raise ConfigError(
                f"{self.annotations}: is there already and not of a MaskCut run, which would replace it; choose "
                "another output folder or move the file away"
            )
        if (self._folder / COMPARISON_NAME).exists():
            raise ConfigError(f"{self._folder}: holds a comparison of generators; choose another output folder")
        begin_run(self.shards, parameters, names)
        self._finished.unlink(missing_ok=True)

    def progress(self) -> Progress:
        """What is done already, by this and all other parts."""
        return read_progress(self.shards)

    def shard(self, rank: int) -> Path:
        """The shard file of one process of this part."""
        return self.shards / f"{self._name}-rank-{rank:05d}.jsonl"

    def mark_finished(self) -> None:
        """Record that this part has nothing left to do."""
        write_text(self._finished, "")

    def merge(self, names: Sequence[str]) -> MergeReport:
        """Write annotations and failures from all shards; see `merge_shards`."""
        return merge_shards([self.shards], self.annotations, expected=names, failures=self.failures)

    def merge_if_last(self, names: Sequence[str]) -> MergeReport | None:
        """Merge if all parts of the array have finished and none is running; None otherwise."""
        finished = len(list(self.shards.glob(f"part-*-of-{self._part.count:05d}.done")))
        if finished < self._part.count:
            log.info("%d of %d parts are finished; the last one merges", finished, self._part.count)
            return None
        try:
            with file_lock(self._folder, purpose="merge"):
                return self.merge(names)
        except (OutputLockedError, AnnotationError) as error:
            log.info("not merged by this part: %s", error)
            return None
