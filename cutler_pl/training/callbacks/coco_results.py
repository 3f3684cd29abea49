"""Detections on their way from the model to one COCO results file, in constant memory and for any number of ranks.

Each rank turns its masks into run lengths at once and appends one line an image to a part file of its own. At the end
one rank puts the lines of all parts in the order of their image ids, so that the file depends neither on the number
of ranks nor on the order in which images were seen. Parts lie beside the results: ranks must share that folder.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from cutler_pl.models.predictions import AnyPrediction, to_coco_results
from cutler_pl.runtime.files import atomic_write


class RankResults:
    """Part file of one rank, and the joining of all of them.

    Args:
        path: The results file to make.
        rank: This process.
        category_ids: Category id of label 1, 2, …; None where labels are category ids already.
        score_threshold: Detections with a lower score are left out.
        max_detections: At most so many detections of an image, the best ones; None for all.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        rank: int = 0,
        category_ids: Sequence[int] | None = None,
        score_threshold: float = 0.0,
        max_detections: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        self.category_ids = None if category_ids is None else list(category_ids)
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.images = 0
        self.kept = 0
        self.left_out = 0
        self._rank = rank
        self._file: IO[str] | None = None

    def open(self) -> None:
        """Start this rank's part anew."""
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.images = self.kept = self.left_out = 0
        self._file = self._part(self._rank).open("w", encoding="ascii")

    def add(self, image_id: int, prediction: AnyPrediction) -> None:
        """Append the detections of one image, best first.

        Raises:
            RuntimeError: `open` was not called.
            ConfigError: A label has no category id.
        """
        if self._file is None:
            raise RuntimeError("open() comes before add()")
        records = to_coco_results(
            prediction,
            image_id,
            category_ids=self.category_ids,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )
        self.images += 1
        self.kept += len(records)
        self.left_out += len(prediction["scores"]) - len(records)
        if records:
            texts = [json.dumps(record, separators=(",", ":"), allow_nan=False) for record in records]
            self._file.write("\t".join([str(image_id), *texts]) + "\n")  # JSON has no tab: they part the records

    def close(self) -> None:
        """Finish this rank's part; does nothing if it is finished."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def merge(self, world_size: int) -> int:
        """Join the parts of all ranks into the results file, on one rank, after every rank has closed its own.

        An image that two ranks have seen (samplers pad so that ranks have equally many) counts once.

        Returns:
            Number of images with detections.
        """
        parts = [self._part(rank).open("rb") for rank in range(world_size)]
        try:
            places = sorted({place[0]: place for place in reversed(_places(parts))}.values())
            with atomic_write(self.path) as temporary, temporary.open("wb") as results:
                results.write(b"[")
                for number, (_, part, start, length) in enumerate(places):
                    parts[part].seek(start)
                    results.write(b",\n" if number else b"\n")
                    results.write(parts[part].read(length).replace(b"\t", b",\n"))
                results.write(b"\n]\n")
        finally:
            for part_file in parts:
                part_file.close()
        shutil.rmtree(self.folder)
        return len(places)

    def _part(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}.txt"


def _places(parts: Sequence[IO[bytes]]) -> list[tuple[int, int, int, int]]:
    """Image id, part, and place and length in it, of every line."""
    places = []
    for number, part in enumerate(parts):
        start = 0
        for line in part:
            image_id, _, _ = line.partition(b"\t")
            head = len(image_id) + 1
            places.append((int(image_id), number, start + head, len(line) - head - 1))
            start += len(line)
    return places
