"""Detections of all ranks in one COCO results file, in constant memory.

Each rank appends one record per image to its own part file; one rank merges the parts by image id. The file does not
depend on the number of ranks or the order of the images. Parts lie beside the results, in a folder all ranks share;
those of an interrupted run are kept by a run of the same settings.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cutler_pl.coco.parts import ImageResults, PartFiles, PartWriter, is_image_results
from cutler_pl.coco.schema import Result
from cutler_pl.coco.stream import list_writer
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import to_coco_results
from cutler_pl.runtime.files import atomic_write, write_json

_SETTINGS = "settings.json"
OnResults = Callable[[Sequence[Result]], None]


class RankResults:
    """Part file of one rank, and the merge of all of them.

    Args:
        category_ids: Category id of label 1, 2, …; None where labels are category ids.

    Attributes:
        images, written: Images seen and detections written by this rank.
        sizes_hw: Height and width by image id, of all ranks, after the merge.
    """

    def __init__(self, path: str | Path, *, rank: int = 0, category_ids: Sequence[int] | None = None) -> None:
        self.path = Path(path)
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        self.category_ids = None if category_ids is None else list(category_ids)
        self.images = self.written = 0
        self.sizes_hw: dict[int, tuple[int, int]] = {}
        self._rank = rank
        self._writer: PartWriter | None = None

    def done(self, settings: Mapping[str, Any]) -> set[int]:
        """Images whose detections an interrupted run of the same settings has written."""
        try:
            same = json.loads((self.folder / _SETTINGS).read_bytes()) == json.loads(json.dumps(settings))
        except (OSError, ValueError):
            return set()
        parts = PartFiles(sorted(self.folder.glob("*.jsonl")), key="image_id", is_valid=is_image_results)
        return {record["image_id"] for _, record in parts} if same else set()

    def begin(self, settings: Mapping[str, Any], *, keep: bool) -> None:
        """Record the settings before any rank opens its part, on one rank; parts of other settings go."""
        if not keep and self.folder.exists():
            shutil.rmtree(self.folder)
        write_json(self.folder / _SETTINGS, settings)

    def open(self, *, keep: bool = False) -> None:
        """Start this rank's part, or go on with it."""
        self.close()
        if not keep:
            self._part(self._rank).unlink(missing_ok=True)
        self._writer = PartWriter(self._part(self._rank))
        self.images = self.written = 0

    def add(self, image_id: int, prediction: CompactPrediction, *, first: OnResults | None = None) -> list[Result]:
        """Append the detections of one image, best first, after calling `first` with them, and return them.

        Raises:
            RuntimeError: `open` was not called.
            ConfigError: A label has no category id.
        """
        if self._writer is None:
            raise RuntimeError("open() comes before add()")
        results = to_coco_results(prediction, image_id, category_ids=self.category_ids)
        if first is not None:
            first(results)
        self.images += 1
        self.written += len(results)
        height, width = prediction["size_hw"]
        self._writer.append([ImageResults(image_id=image_id, height=height, width=width, results=results)])
        return results

    def close(self) -> None:
        """Finish this rank's part, once."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def merge(self, world_size: int) -> int:
        """Merge the closed parts of all ranks, on one rank; an image that two ranks saw counts once.

        Where no image was seen, a results file of an earlier run stays as it is.

        Returns:
            Number of images with detections.
        """
        parts = PartFiles([self._part(rank) for rank in range(world_size)], key="image_id", is_valid=is_image_results)
        with_detections = 0
        index = parts.index()
        if not index and self.path.exists():
            shutil.rmtree(self.folder)
            return 0
        with atomic_write(self.path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write("[")
            put = list_writer(file)
            for record in parts.read(index.values()):
                image = cast(ImageResults, record)
                self.sizes_hw[image["image_id"]] = (image["height"], image["width"])
                with_detections += bool(image["results"])
                for result in image["results"]:
                    put(result)
            file.write("\n]\n")
        shutil.rmtree(self.folder)
        return with_detections

    def _part(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}.jsonl"
