import subprocess
import sys
from importlib.resources import files

import pytest


@pytest.mark.parametrize("module", ["quickstart", "maskcut", "evaluation", "evaluation_figures", "dataset", "quality"])
def test_reports_need_neither_lightning_nor_hydra(module: str) -> None:
    code = f"""
import sys, cutler_pl.reports.{module}
assert not {{"lightning", "hydra", "omegaconf", "supervision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_templates_are_package_data() -> None:
    assert {path.name for path in files("cutler_pl.reports").joinpath("templates").iterdir()} == {
        "page.css", "page.html.j2",
    }  # fmt: skip
