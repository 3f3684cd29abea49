"""The repository's address: one account everywhere, and a script that replaces it."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "set_owner.py"
ADDRESS = re.compile(r"github\.com/([\w-]+)/cutler_pl\b|\b([\w-]+)\.github\.io/cutler_pl\b")
PLACEHOLDER = re.compile(r"\bOWNER\b")
KNOWS_IT = {"scripts/set_owner.py", "tests/repository/test_owner.py"}


def texts(root: Path) -> dict[str, str]:
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True)
    names = [name for name in listing.stdout.decode().split("\0") if name and (root / name).is_file()]
    return {name: (root / name).read_bytes().decode("utf-8", "replace") for name in names if name not in KNOWS_IT}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of the files that name the address, with the script."""
    for name, text in texts(ROOT).items():
        if ADDRESS.search(text) or PLACEHOLDER.search(text):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "scripts").mkdir(exist_ok=True)
    shutil.copyfile(SCRIPT, tmp_path / "scripts" / SCRIPT.name)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "-A"], check=True)
    return tmp_path


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "set_owner.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_account_everywhere() -> None:
    accounts = {first or second for text in texts(ROOT).values() for first, second in ADDRESS.findall(text)}
    assert len(accounts) == 1


def test_script_finds_every_use() -> None:
    """Every placeholder of the tracked files is one that the script replaces."""
    uses = runpy.run_path(str(SCRIPT))["uses"](ROOT)
    found = {path.relative_to(ROOT).as_posix(): count for path, count in uses.items()}
    there = {name: len(PLACEHOLDER.findall(text)) for name, text in texts(ROOT).items() if PLACEHOLDER.search(text)}
    assert {name: count for name, count in found.items() if name not in KNOWS_IT} == there


def test_script_replaces_the_account(copy: Path) -> None:
    used = any(PLACEHOLDER.search(text) for text in texts(copy).values())  # not once it has been run
    assert run(copy, "some-lab").returncode == 0
    accounts = {first or second for text in texts(copy).values() for first, second in ADDRESS.findall(text)}
    assert len(accounts) == 1
    assert not used or accounts == {"some-lab"}
    assert [name for name, text in texts(copy).items() if PLACEHOLDER.search(text)] == []


@pytest.mark.parametrize("words", [(), ("two", "words"), ("no/slash",), ("-leading",)])
def test_bad_accounts_change_nothing(copy: Path, words: tuple[str, ...]) -> None:
    before = texts(copy)
    done = run(copy, *words)
    assert done.returncode == 1
    assert "usage" in done.stderr
    assert texts(copy) == before
