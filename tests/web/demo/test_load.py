"""`benchmarks/demo.py`, shortened: several people at once, and the memory of the server."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.mark.slow
def test_no_request_is_lost_and_memory_stays(tmp_path: Path) -> None:
    """Memory is compared once the sessions that gradio keeps are as many as it keeps."""
    command = [sys.executable, "benchmarks/demo.py", "--memory", "100", "--json", str(tmp_path / "load.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
    result = json.loads((tmp_path / "load.json").read_text())
    assert (result["load"]["answered"], result["load"]["lost"]) == (20, [])
    assert result["memory"]["100"] - result["memory"]["40"] < 30
    if result["figures"] is not None:
        assert statistics.median(result["figures"]) < 3
