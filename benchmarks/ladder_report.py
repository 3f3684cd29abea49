"""Tables and the plot of the ladder, from the files of its cells alone."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ladder_cells import Measured

MIN_SEEDS, MAX_SEEDS = 3, 8
UNDECIDED = "not decided"
KINDS = ("bbox", "segm")
METRICS = ("AP", "AP50", "AR100")


@dataclass(frozen=True)
class Comparison:
    """A row against its baseline, and the gain that somebody claims, in AP50 of boxes."""

    row: str
    baseline: str
    claim: float = 1.0
    table: str = "detectors"
    data: str = "middle"


@dataclass(frozen=True)
class Difference:
    """Differences over the same seeds."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite for less than two seeds."""
        count = len(self.values)
        return statistics.stdev(self.values) / math.sqrt(count) if count > 1 else math.inf

    def verdict(self, claim: float) -> str:
        """What the seeds say about a gain of so much.

        Nothing below `MIN_SEEDS`, or where the standard error is not below half of the gain: the claimed one, or the
        measured one where it is larger.
        """
        if len(self.values) < MIN_SEEDS or self.error >= max(claim, abs(self.mean)) / 2:
            return UNDECIDED
        if self.mean >= claim:
            return "gains"
        return "loses" if self.mean <= -claim else "below the claim"


def pair(measured: Sequence[Measured], one: Comparison, *, kind: str = "bbox") -> tuple[list[int], Difference]:
    """The seeds that both rows have, and the differences in AP50."""
    rows = [_by_seed(measured, (one.table, one.data, name), kind) for name in (one.row, one.baseline)]
    seeds = sorted(rows[0].keys() & rows[1].keys())
    return seeds, Difference([rows[0][seed] - rows[1][seed] for seed in seeds])


def more_seeds(measured: Sequence[Measured], comparisons: Sequence[Comparison], table: str) -> dict[str, int]:
    """The next seed of each row of a table whose comparison is not decided, up to the last of `MAX_SEEDS`."""
    wanted: dict[str, int] = {}
    for one in comparisons:
        seeds, difference = pair(measured, one)
        may_grow = one.table == table and 0 < len(seeds) < MAX_SEEDS
        if may_grow and difference.verdict(one.claim) == UNDECIDED:
            for row in (one.row, one.baseline):
                wanted[row] = max(wanted.get(row, 0), len(seeds))
    return wanted


def _by_seed(measured: Sequence[Measured], key: tuple[str, str, str], kind: str) -> dict[int, float]:
    return {m.key[3]: m.result[kind]["AP50"] for m in measured if m.key[:3] == key and kind in m.result}


def mask_tables(measured: Sequence[Measured], rows: Sequence[str], sets: Sequence[str]) -> str:
    """Quality and CPU time of raw masks, one table per set."""
    found = [data for data in sets if any(m.key[:2] == ("masks", data) for m in measured)]
    return "\n".join(f"{_mask_table(measured, rows, data)}\n" for data in found)


def _mask_table(measured: Sequence[Measured], rows: Sequence[str], data: str) -> str:
    found = [(row, _results(measured, ("masks", data, row))) for row in rows]
    quality = "box AP | AP50 | AR100 | mask AP | AP50 | AR100"
    titles = [data, "seeds", quality, "masks per image", "cut, CPU-s", "refinement, CPU-s"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---|' * 10}"]
    for row, results in found:
        if results:
            numbers = [
                spread([r[kind][m] for r in results if kind in r]) for kind in KINDS for m in ("AP", "AP50", "AR100")
            ]
            seconds = [r["seconds_per_image"] for r in results]
            times = [f"{statistics.fmean(s[part] for s in seconds):.3f}" for part in ("cut", "refinement")]
            count = f"{statistics.fmean(r['masks_per_image'] for r in results):.1f}"
            lines.append(f"| {row} | {len(results)} | {' | '.join([*numbers, count, *times])} |")
    return "\n".join(lines)


def detector_table(measured: Sequence[Measured], rows: Sequence[str]) -> str:
    """Detectors by what they learned from: mean and spread over the seeds."""
    lines = [
        "| detector | seeds | box AP | AP50 | AR100 | mask AP | AP50 | AR100 | CPU-s |",
        f"|---|{'---|' * 8}",
    ]
    for row in rows:
        if results := _results(measured, ("detectors", "middle", row)):
            quality = [spread([r[kind][m] for r in results]) for kind in KINDS for m in METRICS]
            seconds = statistics.fmean(sum(r["cpu_seconds"].values()) for r in results)
            lines.append(f"| {row} | {len(results)} | {' | '.join(quality)} | {seconds:.0f} |")
    return "\n".join(lines)


def comparison_table(measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> str:
    """Paired differences in AP50 with their standard errors, and what they say."""
    lines = [
        "| row − baseline | on | seeds | box AP50, each seed | mean ± standard error | mask AP50 | claim | verdict |",
        f"|---|{'---|' * 7}",
    ]
    for one in comparisons:
        seeds, box = pair(measured, one)
        if not seeds:
            continue
        mask = pair(measured, one, kind="segm")[1]
        where = f"{one.table}, {one.data}"
        values = ", ".join(f"{value:+.1f}" for value in box.values)
        numbers = f"{values} | {with_error(box)} | {with_error(mask)} | {one.claim:g} | {box.verdict(one.claim)}"
        lines.append(f"| {one.row} − {one.baseline} | {where} | {len(seeds)} | {numbers} |")
    return "\n".join(lines)


def speed_table(measured: Sequence[Measured]) -> str:
    """CPU time of the cuts against MaskCut's, and quality with refinement, means over the seeds."""
    cells = [m.result["rows"] for m in measured if m.key[0] == "speed"]
    lines = [
        "| generator | cut, CPU-s per image | of MaskCut's | with features and refinement | masks per image "
        "| box AP50 | of MaskCut's | mask AP50 | of MaskCut's |",
        f"|---|{'---|' * 8}",
    ]
    for row in cells[0] if cells else ():
        base, own = ([cell[name] for cell in cells] for name in ("maskcut", row))
        cut, whole = (statistics.fmean(o[part]["median"] for o in own) for part in ("cut", "whole"))
        times = f"{cut:.4f} | {cut / statistics.fmean(b['cut']['median'] for b in base):.3f} | {whole:.3f}"
        count = statistics.fmean(o["masks_per_image"] for o in own)
        quality = []
        for kind in KINDS:
            ap50, of = (statistics.fmean(one[kind]["AP50"] for one in rows) for rows in (own, base))
            quality.append(f"{ap50:.1f} | {ap50 / of:.2f}")
        lines.append(f"| {row} | {times} | {count:.1f} | {' | '.join(quality)} |")
    return "\n".join(lines)


def provenance(measured: Sequence[Measured]) -> str:
    """Machines, dates, commits, and the load of the machine during the runs, by table."""
    return "\n".join(_lines(measured))


def _lines(measured: Sequence[Measured]) -> Iterator[str]:
    for table in dict.fromkeys(m.key[0] for m in measured):
        runs = [m.run for m in measured if m.key[0] == table]
        machines, dates, commits = (sorted({run[key] for run in runs}) for key in ("machine", "date", "commit"))
        loads = [load for run in runs for load in run["load"]]
        hours = sum(m.cpu_seconds for m in measured if m.key[0] == table) / 3600
        yield (
            f"- {table}: {len(runs)} cells, {hours:.1f} CPU-hours; {', '.join(machines)}; {', '.join(dates)}; load of "
            f"the machine {min(loads):.1f} to {max(loads):.1f}; commits {', '.join(commits)}"
        )


def _results(measured: Sequence[Measured], key: tuple[str, str, str]) -> list[Mapping[str, Any]]:
    return [m.result for m in measured if m.key[:3] == key]


def spread(values: Sequence[float]) -> str:
    """Mean (smallest to largest); a dash where nothing was measured."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f}–{max(values):.1f})"


def with_error(difference: Difference) -> str:
    """Mean ± standard error."""
    if not difference.values:
        return "–"
    error = f" ± {difference.error:.1f}" if math.isfinite(difference.error) else ""
    return f"{difference.mean:+.1f}{error}"
