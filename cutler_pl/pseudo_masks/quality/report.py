"""The quality report of a COCO file of masks, and its record `quality.json`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cutler_pl.pseudo_masks.quality.agreement import Agreement, FindMasks, measure_agreement
from cutler_pl.pseudo_masks.quality.images import ImageFigures, read_images
from cutler_pl.pseudo_masks.quality.masks import MaskReport, read_masks
from cutler_pl.pseudo_masks.quality.options import QualityOptions, QualityThresholds
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, Verdict, judge
from cutler_pl.runtime.files import write_json

QUALITY_NAME = "quality.json"


@dataclass(frozen=True)
class SecondSetting:
    """A second run of MaskCut for the agreement, or the reason why there is none.

    Attributes:
        find: Finds the masks of an image; None where there is no second run.
        text: What is different in it, or why there is none.
    """

    find: FindMasks | None
    text: str


@dataclass(frozen=True)
class QualityReport:
    """All figures of a set of masks, and the verdict; `agreement_note` says why there is no agreement."""

    masks: MaskReport
    images: ImageFigures
    agreement: Agreement | None
    agreement_note: str
    verdict: Verdict
    thresholds: QualityThresholds


def assess(
    annotations: Path,
    images: Path,
    scratch: Path,
    *,
    options: QualityOptions,
    thresholds: QualityThresholds,
    second: SecondSetting,
    settings: RunSettings,
) -> QualityReport:
    """Measure the masks of a COCO file and their images, and judge them.

    Args:
        annotations: COCO JSON with masks, of any size.
        images: Folder that its file names are relative to.
        scratch: Folder for temporary files.
        second: The second run for the agreement.
        settings: What is known of the first run.

    Raises:
        AnnotationError: The file is no COCO, is empty or of other images, or a record is invalid.
        ImageReadError: No image can be read.
    """
    masks = read_masks(
        annotations,
        images,
        scratch,
        num_examples=options.num_examples,
        sample=options.agreement_images,
        on_error=options.on_error,
    )
    files = read_images(
        images,
        masks.sizes_hw,
        source=str(annotations),
        max_images=options.max_images,
        max_distance=options.max_hash_distance,
    )
    agreement, note = None, second.text
    if second.find is not None:
        sample = [image for image in masks.sample if image.file_name not in files.unreadable]
        agreement = measure_agreement(sample, images, second.find, setting=second.text)
        note = "" if agreement else "none of the sampled images has a mask"
    verdict = judge(masks.figures, files, agreement, thresholds, settings)
    return QualityReport(masks, files, agreement, note, verdict, thresholds)


def write_quality(folder: Path, report: QualityReport) -> None:
    """Write `quality.json`: verdict, sentence, advice, signs, figures and thresholds."""
    verdict = report.verdict
    content: dict[str, Any] = {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "advice": list(verdict.advice),
        "signs": [{**asdict(sign), "level": sign.level} for sign in verdict.signs],
        "figures": {
            "masks": asdict(report.masks.figures),
            "images": {**asdict(report.images), "duplicate_share": report.images.duplicate_share},
            "agreement": asdict(report.agreement) if report.agreement else None,
            "agreement_note": report.agreement_note,
        },
        "thresholds": asdict(report.thresholds),
    }
    write_json(folder / QUALITY_NAME, content, indent=2)
