"""Jobs of several processes end where one of them fails: srun waits for the others otherwise."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = (*(ROOT / "scripts").rglob("*.sbatch"), *(ROOT / "scripts").glob("*.sh"), ROOT / "README.md")


def test_srun_ends_with_a_failed_process() -> None:
    calls = [line for path in FILES for line in path.read_text().splitlines() if re.search(r"(^|exec )srun ", line)]
    assert len(calls) >= 2
    assert all("--kill-on-bad-exit=1" in line for line in calls)
