"""The tables of the page `docs/ladder.md`."""

import re
from collections.abc import Mapping, Sequence

from ladder_cells import Measured
from ladder_report import comparison_table, detector_table, mask_tables, provenance, speed_table
from ladder_rows import ARMS, COMPARISONS, GENERATORS, ON_MIDDLE

SETS = ("easy", "middle", "hard", "coco_mini", "voc_mini")


def tables(measured: Sequence[Measured]) -> dict[str, str]:
    """All tables in Markdown, by name."""
    return {
        "masks": mask_tables(measured, [*GENERATORS, *ON_MIDDLE], SETS),
        "speed": speed_table(measured),
        "detectors": detector_table(measured, [*ARMS]),
        "comparisons": comparison_table(measured, COMPARISONS),
        "provenance": provenance(measured),
    }


def filled(page: str, texts: Mapping[str, str]) -> str:
    """A page whose tables between `<!-- table: name -->` and `<!-- end -->` are these."""
    for name, text in texts.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        table = text.strip() if text.count("\n") > 1 or text.startswith("-") else "Not measured yet."
        page = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", page)
    return page
