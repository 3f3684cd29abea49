"""Measured beside published numbers of released weights, with a verdict, as files that people can send.

They hold no paths and no names of a machine or its user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutler_pl.evaluation.metrics import NOT_MEASURED
from cutler_pl.reports.evaluation_tables import TITLES
from cutler_pl.reports.stages import read_json
from cutler_pl.reports.tables import Table, markdown_table
from cutler_pl.runtime.files import write_json, write_text

JSON_NAME, TEXT_NAME = "verification.json", "verification.txt"
REPRODUCED, DIFFERS, UNKNOWN = "reproduced", "differs", "not measured"


@dataclass(frozen=True)
class MeasuredDataset:
    """What was measured on one dataset.

    Attributes:
        name: Name in the catalogue.
        annotations_sha256: Of its annotation file.
        metrics: By "bbox" and "segm", then by name, in percent.
        counts: Images, objects, detections, and what was left out.
    """

    name: str
    annotations_sha256: str
    metrics: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int]

    @classmethod
    def read(cls, evaluation: Path, name: str, annotations_sha256: str) -> "MeasuredDataset":
        """From a folder of `cutler evaluate`."""
        result = read_json(evaluation / name / "result.json")["result"]
        return cls(name, annotations_sha256, result["metrics"], result["counts"])


@dataclass(frozen=True)
class Comparison:
    """One number beside the published one; `ours` is rounded as that is, None where it was not measured."""

    dataset: str
    kind: str
    metric: str
    ours: float | None
    exact: float | None
    published: float
    difference: float | None
    verdict: str


@dataclass(frozen=True)
class Verification:
    """Released weights, what was published of them, and what was measured here.

    Attributes:
        weights: Name of the released weights.
        weights_sha256: Of their file.
        published: By dataset, then by kind and metric, in percent.
        measured: One entry per dataset.
        tolerance: Largest difference that counts as reproduced.
        metadata: Commit, versions, hardware and seed.
    """

    weights: str
    weights_sha256: str
    published: Mapping[str, Mapping[tuple[str, str], float]]
    measured: Sequence[MeasuredDataset]
    tolerance: float
    metadata: Mapping[str, Any]

    @property
    def comparisons(self) -> list[Comparison]:
        """Every published number of the measured datasets."""
        return [
            self._compare(one, kind, metric, value)
            for one in self.measured
            for (kind, metric), value in self.published[one.name].items()
        ]

    def _compare(self, one: MeasuredDataset, kind: str, metric: str, published: float) -> Comparison:
        exact = one.metrics.get(kind, {}).get(metric, NOT_MEASURED)
        if exact == NOT_MEASURED:
            return Comparison(one.name, kind, metric, None, None, published, None, UNKNOWN)
        ours = round(float(exact), 1)
        difference = round(ours - published, 1)
        verdict = REPRODUCED if abs(difference) <= self.tolerance else DIFFERS
        return Comparison(one.name, kind, metric, ours, float(exact), published, difference, verdict)

    def verdict_of(self, dataset: str | None = None) -> str:
        """The verdict on a dataset; on all together without a name."""
        found = {one.verdict for one in self.comparisons if dataset in (None, one.dataset)}
        return next((verdict for verdict in (DIFFERS, UNKNOWN) if verdict in found), REPRODUCED)

    @property
    def sentence(self) -> str:
        """The verdict on all together, in words."""
        close = [name for name in (one.name for one in self.measured) if self.verdict_of(name) == REPRODUCED]
        return (
            f"{self.verdict_of()}: {len(close)} of {len(self.measured)} datasets are within ±{self.tolerance:g} of the "
            "published numbers"
        )


def verification_table(verification: Verification) -> Table:
    """A row per number, and the verdict per dataset."""
    rows = []
    for one in verification.comparisons:
        ours, difference = ("", "") if one.ours is None else (f"{one.ours:.1f}", f"{one.difference:+.1f}")
        number = f"{TITLES[one.kind]} {one.metric}"
        rows.append([one.dataset, number, ours, f"{one.published:.1f}", difference, one.verdict])
    rows.append(["all", "", "", "", "", verification.verdict_of()])
    notes = (f"{verification.weights}, in percent; {verification.sentence}.",)
    return Table(
        ["dataset", "number", "ours", "published", "ours − published", "verdict"], rows, "Verification", notes,
        text_columns=2,
    )  # fmt: skip


def write_verification(folder: Path, verification: Verification) -> None:
    """Write `verification.json` and `verification.txt`."""
    write_json(folder / JSON_NAME, _content(verification), indent=2)
    table = verification_table(verification)
    lines = [
        f"# Verification of {verification.weights}", "", markdown_table(table), *table.notes, "",
        f"weights: SHA-256 {verification.weights_sha256}",
        *(f"annotations of {one.name}: SHA-256 {one.annotations_sha256}" for one in verification.measured),
        *(f"{one.name}: {_counted(one.counts)}" for one in verification.measured),
        *(f"{name}: {_shown(value)}" for name, value in verification.metadata.items()),
    ]  # fmt: skip
    write_text(folder / TEXT_NAME, "\n".join(lines) + "\n")


def _content(verification: Verification) -> dict[str, Any]:
    datasets: dict[str, Any] = {
        one.name: {
            "verdict": verification.verdict_of(one.name),
            "annotations_sha256": one.annotations_sha256,
            "counts": dict(one.counts),
            "numbers": [
                {
                    "of": TITLES[number.kind],
                    "metric": number.metric,
                    "ours": number.exact,
                    "published": number.published,
                    "difference": number.difference,
                    "verdict": number.verdict,
                }
                for number in verification.comparisons
                if number.dataset == one.name
            ],
        }
        for one in verification.measured
    }
    return {
        "format": 1,
        "verdict": verification.verdict_of(),
        "tolerance": verification.tolerance,
        "weights": {"name": verification.weights, "sha256": verification.weights_sha256},
        "datasets": datasets,
        "run": dict(verification.metadata),
    }


def _counted(counts: Mapping[str, int]) -> str:
    names = ("images", "objects", "detections", "unreadable_images", "rejected_annotations")
    return ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in names if name in counts)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
