"""HTML page of a quality report: the verdict, its figures, and the surest and the most doubtful masks."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from cutler_pl.coco.file_names import path_below
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_oriented
from cutler_pl.pseudo_masks.quality.masks import SMALL, Example, Spread
from cutler_pl.pseudo_masks.quality.report import QualityReport
from cutler_pl.pseudo_masks.quality.verdict import SCORE, SCORES_OF
from cutler_pl.reports.html_report import Figure, Page, Section, write_page
from cutler_pl.reports.tables import Cell, Table
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

PAGE = "index.html"
SUREST, DOUBTFUL = "surest.jpg", "doubtful.jpg"
_MAX_ROWS = 100
_TIMES = "times the share of the image's four sides that the mask keeps off"
_ANSWERS = {"works": "Yes", "doubtful": "Doubtful", "outside": "No, outside the method"}


def write_quality_page(output: Path, images: Path, report: QualityReport, *, command: str) -> None:
    """Draw the contact sheets and write `<output>/index.html`; `command` repeats the report."""
    verdict = report.verdict
    advice = [f"{number}. {text}" for number, text in enumerate(verdict.advice, start=1)]
    sections = [
        Section("Advice", text=advice or ("None: train a detector on these masks.",)),
        Section("What the verdict rests on", blocks=(_signs(report),)),
        Section("Masks", blocks=(_masks(report), _per_image(report))),
        Section("Surest and most doubtful masks", blocks=tuple(_sheets(output, images, report))),
        Section("Images", blocks=tuple(_images(report))),
    ]
    page = Page(
        title=f"Will MaskCut work here? {_ANSWERS[verdict.verdict]}",
        intro=(verdict.sentence, "No ground truth is used: the figures say how masks look, not how right they are."),
        sections=sections,
        commands=(command,),
        metadata=run_metadata(),
    )
    write_page(output / PAGE, page)


def _signs(report: QualityReport) -> Table:
    rows: list[Sequence[Cell]] = [
        (
            sign.figure,
            sign.level,
            None if sign.value is None else f"{sign.value:.2f}",
            f"{'above' if sign.higher_is_worse else 'below'} {sign.doubt:g}",
            f"{'above' if sign.higher_is_worse else 'below'} {sign.outside:g}",
        )
        for sign in report.verdict.signs
    ]
    limits = report.thresholds
    notes = [
        f"A figure beyond its first threshold counts 1, beyond its second 2: doubtful from {limits.doubtful_from} on, "
        f"outside from {limits.outside_from} on, or without any mask."
    ]
    if report.masks.figures.score and all(sign.value is None for sign in report.verdict.signs if sign.figure == SCORE):
        notes.append(f"The scores are not judged: the thresholds hold for `{SCORES_OF}` alone.")
    if report.agreement is None:
        notes.append(f"Agreement is not measured: {report.agreement_note}.")
    else:
        notes.append(
            f"Found again: by a second run with {report.agreement.setting} on {report.agreement.images} images, IoU at "
            f"least 0.5; mean IoU {report.agreement.mean_iou:.2f}."
        )
    header = ["figure", "sign", "value", "doubt", "outside"]
    return Table(header, rows, title="Signs", notes=notes, text_columns=2)


def _masks(report: QualityReport) -> Table:
    figures = report.masks.figures
    rows: list[Sequence[Cell]] = [
        ("images", figures.images),
        ("masks", figures.masks),
        ("images without a mask", figures.without_mask),
        ("masks that touch the border", _percent(figures.border_share)),
        ("masks that touch two or more sides", _percent(figures.two_sides_share)),
        (f"masks below {SMALL:.0%} of their image", _percent(figures.small_share)),
        ("share of the image that a mask covers", _spread(figures.area)),
        ("share of the image that its masks cover, mean", _percent(figures.covered)),
        ("score", _spread(figures.score)),
        *(
            (f"score of mask {position} of an image, mean", f"{score:.2f}")
            for position, score in enumerate(figures.score_by_position, start=1)
        ),
        ("Ncut value", _spread(figures.ncut_value, ".2g")),
    ]
    if figures.boxes_only:
        rows.append(("annotations without a mask, not counted", figures.boxes_only))
    notes = ("Spreads are the 10th percentile, the median and the 90th percentile.",)
    return Table(["what", "number"], rows, title="Masks", notes=notes)


def _per_image(report: QualityReport) -> Table:
    rows = [(str(number), count) for number, count in report.masks.figures.images_by_masks.items()]
    return Table(["masks per image", "images"], rows, title="Masks per image")


def _sheets(output: Path, images: Path, report: QualityReport) -> Iterator[Figure]:
    what = "score" if report.masks.figures.score else "compactness, as the annotations have no score,"
    for name, caption, examples in (
        (SUREST, "Surest", report.masks.surest),
        (DOUBTFUL, "Most doubtful", report.masks.most_doubtful),
    ):
        panels, titles = [], []
        for example in examples:
            if example.file_name in report.images.unreadable:
                continue
            try:
                pixels = read_oriented(path_below(images, example.file_name), example.size_hw)
            except ImageReadError as error:
                log.warning("not on the contact sheet: %s", error)
                continue
            panels.append(draw_records(pixels, [example.record], boxes=False, scores=False))
            titles.append(_title(example))
        if panels:
            save_image(output / name, contact_sheet(panels, titles, height=240))
            yield Figure(output / name, caption=f"{caption} mask of each image: {what} {_TIMES}.")


def _title(example: Example) -> str:
    return f"{example.sureness:.2f} {example.file_name.rpartition('/')[2]}"


def _images(report: QualityReport) -> Iterator[Table]:
    images = report.images
    yield Table(
        ["what", "number"],
        [
            ("images opened", images.opened),
            ("unreadable", len(images.unreadable)),
            ("without a record in the annotations", len(images.without_record)),
            ("groups of near-duplicates", len(images.near_duplicates)),
            ("images that look like an earlier one", _percent(images.duplicate_share)),
            ("median of the longer sides in pixels", images.longer_side),
        ],
        title="Images",
    )
    lists: dict[str, list[Sequence[Cell]]] = {
        "unreadable": list(images.unreadable.items()),
        "near-duplicates": [(group[0], ", ".join(group[1:])) for group in images.near_duplicates],
        "without a mask": [(name, "") for name in report.masks.figures.names_without_mask],
        "without a record": [(name, "") for name in images.without_record],
    }
    second = {"unreadable": "reason", "near-duplicates": "looks the same"}
    for title, rows in lists.items():
        if rows:
            shown = f"{_MAX_ROWS} of {len(rows)} are shown; `quality.json` has more." if len(rows) > _MAX_ROWS else ""
            header = [title, second.get(title, "")]
            notes = (shown,) if shown else ()
            yield Table(header, rows[:_MAX_ROWS], title=title, notes=notes, text_columns=2)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _spread(spread: Spread | None, form: str = ".2f") -> str | None:
    return None if spread is None else " / ".join(format(value, form) for value in astuple(spread))
