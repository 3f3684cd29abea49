"""Every notebook as it is stored: valid, without outputs, and code that the package still offers."""

import ast
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["01_maskcut_step_by_step", "02_your_own_images", "03_predict_and_evaluate", "04_train_and_self_train"]
ACCOUNT = r"[\w-]+"  # a placeholder, until scripts/set_owner.py has been run


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(source: str) -> ast.Module:
    """The cell as Python, its magics as calls."""
    return ast.parse(TransformerManager().transform_cell(source))


def test_all_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_format_is_valid(path: Path, notebook: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_stored_without_outputs(notebook: Any) -> None:
    assert [cell.id for cell in code(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert [cell.id for cell in notebook.cells if set(cell.metadata) - {"tags"}] == []


def test_badge_opens_this_file(path: Path, notebook: Any) -> None:
    badge = rf"\(https://colab\.research\.google\.com/github/{ACCOUNT}/cutler_pl/blob/main/notebooks/{path.name}\)"
    assert re.search(badge, notebook.cells[0].source)


def test_first_cell_installs_only_where_missing(notebook: Any) -> None:
    """The whole cell is an import and an `if` on the package, which holds the one line that installs."""
    first = code(notebook)[0].source
    _, missing = parsed(first).body
    assert isinstance(missing, ast.If)
    assert ast.unparse(missing.test) == "importlib.util.find_spec('cutler_pl') is None"
    assert re.search(rf'%pip install -q "cutler_pl @ git\+https://github\.com/{ACCOUNT}/cutler_pl"$', first)
    assert "pip" not in "".join(cell.source for cell in code(notebook)[1:])


def test_parameters_are_one_cell(notebook: Any) -> None:
    (cell,) = (cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", ()))
    assert all(isinstance(statement, ast.Assign) for statement in parsed(cell.source).body)


def test_every_cell_compiles(notebook: Any) -> None:
    for cell in code(notebook):
        compile(parsed(cell.source), cell.id, "exec")


def test_imports_are_public(notebook: Any) -> None:
    """What a notebook takes from the package is on the page of the public API, and is there."""
    documented = set(re.findall(r"^::: ([\w.]+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE))
    statements = [node for cell in code(notebook) for node in ast.walk(parsed(cell.source))]
    names = [
        (node.module, alias.name)
        for node in statements
        if isinstance(node, ast.ImportFrom) and node.module.startswith("cutler_pl")
        for alias in node.names
    ]
    assert names
    public = {("cutler_pl.api" if module == "cutler_pl" else module) + f".{name}" for module, name in names}
    assert public - documented == set()
    assert [f"{module}.{name}" for module, name in names if not hasattr(import_module(module), name)] == []


def test_documented(path: Path) -> None:
    assert f"notebooks/{path.name}" in (ROOT / "docs" / "notebooks.md").read_text()
