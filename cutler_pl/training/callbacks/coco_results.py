"""Detections on their way from the model to one COCO results file, in constant memory and for any number of ranks.

Each rank turns its masks into run lengths at once and appends one line an image to a part file of its own. At the end
one rank puts the lines of all parts in the order of their image ids, so that the file depends neither on the number
of ranks nor on the order in which images were seen. Parts lie beside the results: ranks must share that folder.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.errors import ConfigError
from cutler_pl.models.predictions import AnyPrediction, full_masks
from cutler_pl.runtime.files import replacing

_MASKS_AT_ONCE = 8  # full-size masks of one image in memory


class ResultParts:
    """Part file of one rank, and the joining of all of them.

    Args:
        path: The results file to make.
        rank: This process.
        category_ids: Category id of label 1, 2, …; None where labels are category ids already.
        score_threshold: Detections with a lower score are left out.
        top_k: At most so many detections of an image, the best ones; None for all.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        rank: int = 0,
        category_ids: Sequence[int] | None = None,
        score_threshold: float = 0.0,
        top_k: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        self.category_ids = None if category_ids is None else list(category_ids)
        self.score_threshold = score_threshold
        self.top_k = top_k
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
        chosen = self._choose(prediction["scores"])
        self.images += 1
        self.kept += len(chosen)
        self.left_out += len(prediction["scores"]) - len(chosen)
        records = self._records(image_id, prediction, chosen)
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
            with replacing(self.path) as temporary, temporary.open("wb") as results:
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

    def _choose(self, scores: Tensor) -> list[int]:
        """Indices of the detections to keep: by falling score, equal scores in the model's order."""
        order = torch.sort(scores.float(), descending=True, stable=True).indices
        order = order[scores[order] >= self.score_threshold]
        return [int(index) for index in order[: self.top_k].tolist()]

    def _records(self, image_id: int, prediction: AnyPrediction, chosen: list[int]) -> list[dict[str, Any]]:
        index = torch.as_tensor(chosen, dtype=torch.int64, device=prediction["scores"].device)
        boxes = prediction["boxes"][index].float().cpu().numpy()
        scores = prediction["scores"][index].float().cpu().numpy()
        labels = prediction["labels"][index].cpu().tolist()
        records = []
        for number, mask in enumerate(_masks(prediction, index)):
            x0, y0, x1, y1 = boxes[number]
            records.append(
                {
                    "image_id": image_id,
                    "category_id": self._category_id(labels[number]),
                    "bbox": [_short(value) for value in (x0, y0, x1 - x0, y1 - y0)],
                    "score": _short(scores[number]),
                    "segmentation": rle.encode(mask),
                }
            )
        return records

    def _category_id(self, label: int) -> int:
        if self.category_ids is None:
            return label
        if not 1 <= label <= len(self.category_ids):
            raise ConfigError(
                f"the model gives label {label}, but category ids are known for 1 to {len(self.category_ids)}: "
                "the checkpoint and the annotations are of different classes"
            )
        return self.category_ids[label - 1]


def _masks(prediction: AnyPrediction, index: Int64[Tensor, " boxes"]) -> Iterator[Bool[np.ndarray, "height width"]]:
    """Full-size masks of some detections, a few in memory at a time."""
    for start in range(0, len(index), _MASKS_AT_ONCE):
        yield from full_masks(prediction, index[start : start + _MASKS_AT_ONCE]).cpu().numpy()


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


def _short(value: np.float32) -> float:
    """The shortest decimal number that reads back as the same float32."""
    return float(str(value))
