"""Rules of the code base that import-linter and ruff cannot state; `scripts/test.sh` runs those two as well."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cutler_pl"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300
SPEAK_TO_THE_USER = {"cli.py", *(f"commands/{name}.py" for name in ("sentences", "completion", "doctor"))}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
# Folders of one person's machine; a user's own are written as ~, $HOME or /path/to.
MACHINE_PATH = re.compile(r"(?<![\w./~}-])/(?:work|root|home|Users)/\w")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _imports(path: Path) -> list[str]:
    """Full names a module imports, wherever the statement stands."""
    names = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("runs in a git checkout, which says what belongs to the project")
    files = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in files if path.is_file() and path != Path(__file__).resolve()]


def test_there_are_modules_to_check() -> None:
    assert len(MODULES) > 10


def test_every_module_says_what_it_is_for() -> None:
    assert [_name(path) for path in MODULES if len((ast.get_docstring(_tree(path)) or "").split()) < 4] == []


def test_no_module_is_too_long_to_read() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_package_logs_and_does_not_print() -> None:
    prints = [
        f"{_name(path)}:{node.lineno}"
        for path in MODULES
        if _name(path) not in SPEAK_TO_THE_USER
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


def test_annotations_are_not_strings() -> None:
    """The test hook checks shapes by the annotations themselves."""
    assert [_name(path) for path in MODULES if "__future__.annotations" in _imports(path)] == []


def test_test_tools_are_not_needed_at_run_time() -> None:
    tools = {"pytest", "hypothesis", "beartype"}
    assert {_name(path) for path in MODULES if tools & {name.partition(".")[0] for name in _imports(path)}} == set()


def test_names_say_what_a_module_holds() -> None:
    names = [path.relative_to(PACKAGE).with_suffix("") for path in MODULES]
    assert [str(name) for name in names if VAGUE_NAMES & set(name.parts)] == []


def test_private_names_of_torchvision_are_unused() -> None:
    private = [
        f"{_name(path)}: {name}"
        for path in MODULES
        for name in _imports(path)
        if name.startswith("torchvision.") and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


def test_every_folder_of_the_package_is_a_package() -> None:
    assert {_name(path.parent) for path in MODULES if not (path.parent / "__init__.py").is_file()} == set()


def test_no_file_names_a_folder_of_one_machine() -> None:
    found = []
    for path in _tracked_files():
        content = path.read_bytes()
        lines = [] if b"\0" in content else content.decode("utf-8", "replace").splitlines()
        found += [
            f"{path.relative_to(ROOT)}:{n}: {t.strip()[:80]}" for n, t in enumerate(lines, 1) if MACHINE_PATH.search(t)
        ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "names_one"),
    [
        ("cd |work|main", True),
        ('"|home|someone|data"', True),
        ("root=|root|x", True),
        ("https:||example.org|home|page", False),
        ("$HOME|work|data and ~|work|data and .|work|x", False),
        ("|path|to|imagenet", False),
    ],
)
def test_pattern_of_machine_folders(line: str, names_one: bool) -> None:
    line = line.replace("|", "/")  # written otherwise, so that this file names no such folder itself
    assert bool(MACHINE_PATH.search(line)) is names_one


def test_architecture_page_names_rooms_that_exist() -> None:
    """Every `cutler_pl/…` path and every room of the page is there, and every room is on the page."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:cutler_pl|conf)/[\w./]+)`", page)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    named = set(re.findall(r"^\| `([\w.]+)` \|", page, flags=re.M)) - {"conf"}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert named - {"cli.py", "images.py"} == rooms
