"""Table, figures and record of a calibration."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutler_pl.coco.parts import ShardRecord
from cutler_pl.pseudo_masks.calibration.choice import Choice
from cutler_pl.pseudo_masks.calibration.criteria import Jackknife
from cutler_pl.pseudo_masks.calibration.scores import FittedScores
from cutler_pl.pseudo_masks.calibration.values import Search
from cutler_pl.reports.tables import Cell, Table, markdown_table
from cutler_pl.runtime.files import write_json, write_text
from cutler_pl.visual.calibration import plot_criterion, plot_reliability
from cutler_pl.visual.curves import save_figure

CALIBRATION_NAME = "calibration.json"


@dataclass(frozen=True)
class CalibrationReport:
    """What was tried and found.

    Attributes:
        search: The values.
        records: The masks of each image at each of them.
        criterion: What it is, as the axis of the figure says it.
        measured: The criterion at each value, higher is better.
        verdicts: Of the quality report at each value; empty where it was not asked.
        choice: Which value is taken.
        fitted: The map of scores, if one was fitted.
        notes: Further sentences.
    """

    search: Search
    records: Sequence[Sequence[ShardRecord]]
    criterion: str
    measured: Jackknife
    verdicts: Sequence[str]
    choice: Choice
    fitted: FittedScores | None
    notes: Sequence[str]

    def differences(self) -> list[tuple[float, float]]:
        """How much each value is below the best, and the standard error of that."""
        best = int(self.measured.values.argmax())
        return [self.measured.difference(best, number) for number in range(len(self.search.values))]

    def table(self) -> Table:
        """A row per value."""
        rows: list[Sequence[Cell]] = []
        for number, (value, (below, error)) in enumerate(zip(self.search.values, self.differences(), strict=True)):
            masks = [len(record["annotations"]) for record in self.records[number]]
            rows.append((
                self.search.text(value), *self.verdicts[number : number + 1], sum(masks) / len(masks), masks.count(0),
                *(f"{abs(number):.2f}" for number in (self.measured.values[number], below, error)),
            ))  # fmt: skip
        header = [
            self.search.setting, *(["verdict"] if self.verdicts else []), "masks per image", "images without",
            self.criterion, "behind the best", "standard error",
        ]  # fmt: skip
        chosen = self.search.values.index(self.choice.value)
        return Table(
            header, rows, title="Calibration", text_columns=2 if self.verdicts else 1, bold=frozenset([chosen])
        )


def write_calibration(output: Path, report: CalibrationReport, *, summary: dict[str, Any]) -> None:
    """Write `calibration.json`, `.md`, `.csv` and `.svg`, and `reliability.svg` where scores were fitted."""
    search, table, fitted = report.search, report.table(), report.fitted
    errors = [error for _, error in report.differences()]
    content = {
        **summary,
        "setting": search.setting,
        "chosen": search.at(report.choice.value),
        "is_sure": report.choice.is_sure,
        "sentences": [*report.choice.sentences, *report.notes],
        "criterion": report.criterion,
        "values": [
            {"value": search.at(value), "criterion": float(measured), "standard_error_to_best": error}
            for value, measured, error in zip(search.values, report.measured.values, errors, strict=True)
        ],
    }
    if fitted is not None:
        content["expected_calibration_error"] = {
            "before": fitted.before.expected_error,
            "after": fitted.after.expected_error,
        }
    write_json(output / CALIBRATION_NAME, content, indent=2)
    lines = [f"{sentence}.\n" for sentence in content["sentences"]]
    write_text(output / "calibration.md", "\n".join(["# Calibration\n", markdown_table(table), *lines]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.texts])
    write_text(output / "calibration.csv", text.getvalue())
    chosen = report.choice.value
    marked = {"chosen": chosen, "present": search.present} if report.choice.is_sure else {"stays": chosen}
    axis = f"added to {search.setting}" if search.is_list else search.setting
    save_figure(
        output / "calibration.svg",
        plot_criterion(
            search.values,
            np.abs(report.measured.values).tolist(),
            errors,
            marked=marked,
            labels=(axis, report.criterion),
        ),
    )
    if fitted is not None:
        figure = plot_reliability({"as written": fitted.before, "calibrated": fitted.after})
        save_figure(output / "reliability.svg", figure)
