import subprocess
import sys
from importlib.resources import files

CODE = """
import importlib, pkgutil, sys
import cutler_pl.reports as reports
for module in pkgutil.walk_packages(reports.__path__, "cutler_pl.reports."):
    importlib.import_module(module.name)
    heavy = {"lightning", "hydra", "omegaconf", "supervision"} & set(sys.modules)
    assert not heavy, f"{module.name} imports {heavy}"
"""


def test_reports_need_neither_lightning_nor_hydra() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", CODE], check=True)


def test_templates_are_package_data() -> None:
    assert {path.name for path in files("cutler_pl.reports").joinpath("templates").iterdir()} == {
        "page.css", "page.html.j2",
    }  # fmt: skip
