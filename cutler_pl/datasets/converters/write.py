"""Write converted records as a COCO file, with counts and a list of what was skipped."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutler_pl.coco.stream import CocoWriter, writing_coco
from cutler_pl.datasets.converters.records import ImageRecord, ObjectRecord, Record, SkippedRecord
from cutler_pl.errors import TooManyFailuresError
from cutler_pl.runtime.files import atomic_write

FOREGROUND = {"id": 1, "name": "fg", "supercategory": "fg"}


@dataclass
class ConversionReport:
    """Numbers of images and annotations written, with ignored regions (`iscrowd` 1), and of skipped records.

    `objects` counts annotations by image id, `skipped` by kind ("image", "object"), reason and whether it is an error;
    `first` is the file name of the first image.
    """

    images: int = 0
    annotations: int = 0
    ignored: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    first: str = ""
    skipped: Counter[tuple[str, str, bool]] = field(default_factory=Counter)

    @property
    def empty(self) -> int:
        """Images without any annotation."""
        return self.images - len(self.objects)

    def failure_rate(self, kind: str) -> float:
        """Share of images or objects that were skipped because of an error."""
        invalid = sum(count for (of, _, is_error), count in self.skipped.items() if is_error and of == kind)
        written = self.images if kind == "image" else self.annotations
        return invalid / (invalid + written) if invalid else 0.0


def write_records(
    records: Iterable[Record], output: Path, *, skipped: Path, info: dict[str, Any], max_failure_rate: float
) -> ConversionReport:
    """Write a class-agnostic COCO file, unless too much is missing from it.

    Args:
        records: Output of a converter.
        output: The file; an older one stays if the new one is refused.
        skipped: File for one JSON line per skipped record; `refused.jsonl` beside it if the new file is refused where
            an older one stays.
        max_failure_rate: Share of images, and of objects, that may be left out because of an error.

    Raises:
        TooManyFailuresError: More is invalid than accepted, or nothing is left.
        OutputWriteError: There is no space or no permission.
    """
    report = ConversionReport()
    listed = skipped.with_name("refused.jsonl") if output.exists() else skipped
    header = {"info": info, "licenses": [], "categories": [FOREGROUND]}
    with writing_coco(output, header) as writer:
        with atomic_write(listed) as temporary, temporary.open("w", encoding="ascii") as listing:
            for record in records:
                if isinstance(record, SkippedRecord):
                    report.skipped[record.kind, record.reason, record.is_error] += 1
                    if record.item:
                        listing.write(json.dumps(record._asdict()) + "\n")
                else:
                    _write(record, writer, report)
        _refuse(report, output, listed, max_failure_rate)
    listed.replace(skipped)
    return report


def _write(record: ImageRecord | ObjectRecord, writer: CocoWriter, report: ConversionReport) -> None:
    if isinstance(record, ImageRecord):
        report.images += 1
        report.first = report.first or record.file_name
        writer.image(record._asdict())
        return
    report.annotations += 1
    report.ignored += record.crowd
    report.objects[record.image_id] += 1
    annotation: dict[str, Any] = {
        "id": report.annotations if record.id is None else record.id,
        "image_id": record.image_id,
        "category_id": FOREGROUND["id"],
        "bbox": record.bbox,
        "area": record.area,
        "iscrowd": int(record.crowd),
    }
    if record.segmentation is not None:
        annotation["segmentation"] = record.segmentation
    writer.annotation(annotation)


def _refuse(report: ConversionReport, output: Path, skipped: Path, max_failure_rate: float) -> None:
    kinds = [kind for kind in ("image", "object") if report.failure_rate(kind) > max_failure_rate]
    if not kinds and report.annotations:
        return
    errors = Counter({key: count for key, count in report.skipped.items() if key[2]})
    reasons = ", ".join(f"{kind}s: {reason} {count:,}×" for (kind, reason, _), count in errors.most_common(4))
    listed = f" ({reasons}; all are listed in {skipped})" if reasons else ""
    if not report.annotations:
        raise TooManyFailuresError(f"{output}: not written, since no annotation is left{listed}; check the paths given")
    rates = " and ".join(f"{report.failure_rate(kind):.1%} of the {kind}s" for kind in kinds)
    raise TooManyFailuresError(
        f"{output}: not written, since {rates} are missing or invalid, more than "
        f"max_failure_rate={max_failure_rate:g}{listed}; "
        "complete the download, or accept it by max_failure_rate=1"
    )
