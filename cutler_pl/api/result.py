"""The objects found in one image, and what people do with them: draw, save, hand on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from cutler_pl.api.inputs import Pixels
from cutler_pl.coco import rle
from cutler_pl.coco.outlines import crops
from cutler_pl.coco.schema import RLE
from cutler_pl.coco.schema import Result as CocoResult
from cutler_pl.datasets.formats.yolo import points
from cutler_pl.errors import InputError
from cutler_pl.images import IMAGE_SUFFIXES, read_image
from cutler_pl.models.predictions import coco_results
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.imports import supervision
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.image_files import save_image


@dataclass(frozen=True, eq=False)
class Result:
    """Objects of one image, best first, in upright pixels of the image; all tensors are on the CPU.

    `len(result)` is the number of objects. `result[0]`, `result[:5]` and `result[result.scores > 0.5]` are Results of
    fewer objects; iterating gives Results of one object each.

    Attributes:
        boxes: Pixels, xyxy.
        scores: In 0..1.
        labels: From 1.
        names: Class name by label.
        category_ids: COCO category id by label.
        image_size_hw: Height and width of the image.
        encoded: The masks as compressed run lengths.
        image: The image's pixels, or the file they are read from when they are needed.
    """

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    labels: Int64[Tensor, " boxes"]
    names: Mapping[int, str]
    category_ids: Mapping[int, int]
    image_size_hw: tuple[int, int]
    encoded: Sequence[RLE]
    image: Pixels | Path

    @property
    def masks(self) -> Bool[Tensor, "boxes height width"]:
        """Full-size masks, decoded at each access."""
        if not self.encoded:
            return torch.zeros((0, *self.image_size_hw), dtype=torch.bool)
        return torch.from_numpy(np.stack([rle.decode(mask) for mask in self.encoded]))

    @property
    def path(self) -> Path | None:
        """The file of the image; None where it was given as pixels."""
        return self.image if isinstance(self.image, Path) else None

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator["Result"]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, key: int | slice | Tensor | np.ndarray | Sequence[int]) -> "Result":
        """Some of the objects: by place, slice, places, or a truth value for each."""
        if isinstance(key, int) and not -len(self) <= key < len(self):
            raise IndexError(f"object {key} of a result of {len(self)}")
        places = key if isinstance(key, int | slice) else torch.as_tensor(key)
        if isinstance(places, Tensor) and not len(places):
            places = slice(0)
        chosen = torch.arange(len(self))[places].reshape(-1)
        return replace(self, **self._at(chosen))

    def _at(self, chosen: Int64[Tensor, " chosen"]) -> dict[str, Any]:
        """The values of some of the objects."""
        encoded = [self.encoded[place] for place in chosen.tolist()]
        return {name: getattr(self, name)[chosen] for name in ("boxes", "scores", "labels")} | {"encoded": encoded}

    def __repr__(self) -> str:
        height, width = self.image_size_hw
        where = "" if self.path is None else f" of {self.path}"
        count = "1 object" if len(self) == 1 else f"{len(self)} objects"
        return f"Result({count}, image{where} of {height}×{width} (height×width))"

    def plot(self, score_threshold: float = 0.0) -> Image.Image:
        """The image with masks, boxes and scores of the objects that score at least the threshold.

        Raises:
            ImageReadError: The image's file cannot be read any more.
        """
        shown = self[self.scores >= score_threshold]
        drawn = draw_instances(
            read_image(self.image) if isinstance(self.image, Path) else self.image,
            shown.masks,
            boxes=shown.boxes,
            scores=shown.scores,
            labels=shown._labels(),
            colors=shown._colors(),
        )
        return Image.fromarray(drawn)

    def _labels(self) -> list[str] | None:
        """What is written beside the objects: their classes, where there are several."""
        return [self.names[label] for label in self.labels.tolist()] if len(self.names) > 1 else None

    def _colors(self) -> UInt8[np.ndarray, "boxes 3"] | None:
        """Their colors; None for those of their places."""
        return None

    def save(self, path: str | Path, *, score_threshold: float = 0.0) -> None:
        """Write COCO results to a `.json` file, or else the plot as an image.

        Raises:
            InputError: The ending is neither.
            OutputWriteError: The file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".json":
            write_json(path, self[self.scores >= score_threshold].to_coco(image_id=1))
        elif suffix in IMAGE_SUFFIXES:
            save_image(path, np.asarray(self.plot(score_threshold)))
        else:
            raise InputError(f"{path}: the ending says what is written; choose .json, .jpg, .png or .webp")

    def to_coco(self, image_id: int) -> list[CocoResult]:
        """COCO results: bbox as xywh, category ids of the checkpoint, compressed run lengths with `counts` as str."""
        return coco_results(
            image_id,
            boxes=self.boxes,
            scores=self.scores,
            category_ids=[self.category_ids[label] for label in self.labels.tolist()],
            masks=self.encoded,
        )

    def to_yolo(self) -> str:
        """A label file of YOLO segmentation: a line per object, of its class from 0 and one ring of relative points.

        An object whose mask has no pixel is the ring of its box.
        """
        found = crops(self.encoded)
        rings = [points(crop, box, self.image_size_hw) for crop, box in zip(found, self.boxes.tolist(), strict=True)]
        return "".join(f"{label - 1} {ring}\n" for label, ring in zip(self.labels.tolist(), rings, strict=True))

    def to_supervision(self) -> Any:
        """`supervision.Detections` with dense masks, scores, labels, and the data `class_name`."""
        names = np.array([self.names[label] for label in self.labels.tolist()], dtype=str)
        return supervision().Detections(
            xyxy=self.boxes.numpy(),
            mask=self.masks.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy().astype(int),
            data={"class_name": names},
        )
