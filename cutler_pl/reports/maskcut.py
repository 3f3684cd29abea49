"""The page of a MaskCut run: every step from photo to mask side by side, and what became of the rounds."""

from collections.abc import Sequence
from pathlib import Path

from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.reports.html_report import Page, Picture, Row, Section, Table, write_page
from cutler_pl.runtime.reproducibility import run_metadata

MOST_SHOWN = 200
"""Photos on a page; of more, every so many is shown."""


def picture_of(folder: Path, name: str) -> Path:
    """Where the picture of a photo lies in a folder of pictures."""
    return folder / (name if name.endswith(".jpg") else f"{name}.jpg")


def write_maskcut_page(output: Path, names: Sequence[str], report: MergeReport) -> None:
    """Write `<output>/index.html` from the pictures in `steps/`.

    Args:
        output: Folder of the run.
        names: The photos, as in the run.
        report: What was merged.
    """
    there = [name for name in names if name not in report.failed]
    shown = there[:: -(-len(there) // MOST_SHOWN)] if there else []
    rows = [
        Row(title=name, pictures=(Picture(picture_of(output / "steps", name), alt=f"Steps of MaskCut for {name}"),))
        for name in shown
        if picture_of(output / "steps", name).is_file()
    ]
    counts = [
        ("photos", report.images),
        ("masks", report.annotations),
        ("photos without a mask", report.without_annotations),
        *((f"rounds dropped: {reason}", count) for reason, count in sorted(report.dropped.items())),
        ("photos that failed", len(report.failed)),
    ]
    sections = [
        Section("Counts", blocks=(Table(columns=("what", "number"), rows=counts),)),
        Section(
            "Photos",
            text=(
                f"{len(rows)} of {report.images} photos. Left to right: the photo, the second smallest generalised "
                "eigenvector of each round (warm is the object's side), masks before and after the CRF. `overlays/` "
                "has the masks alone, larger.",
            ),
            blocks=tuple(rows),
        ),
    ]
    if report.failed:
        failed = Table(columns=("photo", "reason"), rows=sorted(report.failed.items()))
        sections.append(Section("Failed", blocks=(failed,)))
    page = Page(
        title="MaskCut",
        intro=("Masks of objects that nobody labelled, cut from the patch graph of each photo round by round.",),
        sections=tuple(sections),
        metadata=run_metadata(),
    )
    write_page(output / "index.html", page)
