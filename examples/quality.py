"""Will MaskCut work here? A verdict on masks and the images they come from, without ground truth.

python examples/quality.py <annotations.json> <images> <output folder>
"""

import sys
from pathlib import Path

from cutler_pl.pseudo_masks.quality.options import QualityOptions, QualityThresholds
from cutler_pl.pseudo_masks.quality.report import SecondSetting, assess, write_quality
from cutler_pl.pseudo_masks.quality.verdict import RunSettings

if len(sys.argv) != 4:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
annotations, images, output = map(Path, sys.argv[1:])
output.mkdir(parents=True, exist_ok=True)

report = assess(
    annotations,
    images,
    output,
    options=QualityOptions(),
    thresholds=QualityThresholds(),
    second=SecondSetting(None, "this example runs MaskCut once"),
    settings=RunSettings(),
)
write_quality(output, report)
print(report.verdict.sentence, *report.verdict.advice, sep="\n")
