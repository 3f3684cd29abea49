"""Exported labels are read back by the libraries they are for, each in an environment of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl.datasets.formats import FORMATS

ROOT = Path(__file__).resolve().parents[2]
DRAWN_WITH_OUTLINE = {("yolo", "rle"), ("yolo", "polygons"), ("labelme", "polygons"), ("labelstudio", "polygons")}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("form", list(FORMATS))
def test_library_reads_the_same_masks(form: str, tmp_path: Path) -> None:
    env = os.environ | {"PYTHON": sys.executable, "ROUNDTRIP": str(tmp_path)}
    command = ["bash", str(ROOT / "scripts" / "roundtrip.sh"), form]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"masks=(\w+), read by .*: IoU ([\d. ]+)", done.stdout)
    assert [masks for masks, _ in found] == ["rle", "polygons"]
    for masks, numbers in found:
        least = 0.9 if (form, masks) in DRAWN_WITH_OUTLINE else 1.0
        ellipse, parts, pixel, whole, noise = (float(number) for number in numbers.split())
        assert min(ellipse, parts, whole) >= least
        assert min(pixel, noise) >= (1.0 if least == 1.0 else 0.2)


def test_unknown_format_is_refused() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "roundtrip.sh"), "pascal"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no format 'pascal'" in done.stderr
