"""Detections of all ranks in one COCO results file, in constant memory.

Each rank appends one record per image to its own part file; one rank merges the parts by image id. The file does not
depend on the number of ranks or the order of the images. Parts lie beside the results, in a folder all ranks share;
a run that resumes keeps them.
"""

import shutil
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from cutler_pl.coco.parts import ImageResults, PartFiles, PartWriter, is_image_results
from cutler_pl.coco.schema import Result
from cutler_pl.coco.sorted_records import SortedRecords
from cutler_pl.coco.stream import list_writer
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import to_coco_results
from cutler_pl.models.tiled import EncodedPrediction
from cutler_pl.runtime.files import atomic_write

_KEY = "image_id"
OnResults = Callable[[Sequence[Result]], None]


class RankResults:
    """Part file of one rank, and the merge of all of them.

    Args:
        category_ids: Category id of label 1, 2, …; None where labels are category ids.
        min_score: Least score of the detections that are written.
        resume: Keep the parts of an interrupted run, of however many ranks.

    Attributes:
        images, written: Images seen and detections written by this rank.
        sizes_hw: Height and width by image id, of all ranks, after the merge.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        rank: int = 0,
        category_ids: Sequence[int] | None = None,
        min_score: float = 0.0,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.folder = parts_folder(self.path)
        self.min_score = min_score
        self.resume = resume
        self.category_ids = None if category_ids is None else list(category_ids)
        self.images = self.written = 0
        self.sizes_hw: dict[int, tuple[int, int]] = {}
        self._rank = rank
        self._writer: PartWriter | None = None

    def open(self) -> None:
        """Start this rank's part."""
        self.close()
        if not self.resume:
            self._part(self._rank).unlink(missing_ok=True)
        self._writer = PartWriter(self._part(self._rank))
        self.images = self.written = 0

    def add(
        self, image_id: int, prediction: CompactPrediction | EncodedPrediction, *, first: OnResults | None = None
    ) -> list[Result]:
        """Append the detections of one image from `min_score` up, best first, after calling `first` with them.

        Raises:
            RuntimeError: `open` was not called.
            ConfigError: A label has no category id.
        """
        if self._writer is None:
            raise RuntimeError("open() comes before add()")
        found = to_coco_results(prediction, image_id, category_ids=self.category_ids)
        results = [result for result in found if result["score"] >= self.min_score]
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
        paths = sorted(self.folder.glob("*.jsonl")) if self.resume else [self._part(rank) for rank in range(world_size)]
        with_detections, last = 0, None
        with SortedRecords(self.folder) as images:
            for _, record in PartFiles(paths, key=_KEY, is_valid=is_image_results):
                images.add(record[_KEY], record)
            if not images and self.path.exists():
                shutil.rmtree(self.folder)
                return 0
            with atomic_write(self.path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
                file.write("[")
                put = list_writer(file)
                for image_id, image in images:
                    if image_id == last:
                        continue
                    last = image_id
                    self.sizes_hw[image_id] = (image["height"], image["width"])
                    with_detections += bool(image["results"])
                    for result in image["results"]:
                        put(result)
                file.write("\n]\n")
        shutil.rmtree(self.folder)
        return with_detections

    def _part(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}.jsonl"


def parts_folder(results: str | Path) -> Path:
    """Folder of the part files of a results file."""
    return Path(results).with_name(f".{Path(results).name}.parts")


def recorded_images(results: str | Path) -> Int64[np.ndarray, " images"]:
    """Ids of the images in the parts that an interrupted run left."""
    paths = sorted(parts_folder(results).glob("*.jsonl"))
    ids = array("q", (record[_KEY] for _, record in PartFiles(paths, key=_KEY, is_valid=is_image_results)))
    return np.unique(np.array(ids, dtype=np.int64))
