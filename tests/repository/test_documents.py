"""Links inside the repository exist, NOTICE names what can be fetched, changelog and version keep their form."""

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest

from cutler_pl.datasets import released_annotations
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.maskcut.released import BACKBONES
from cutler_pl.runtime.version import VERSION
from cutler_pl.weights.sources import RELEASED

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
OWN_FILE = re.compile(r"https://github\.com/[\w-]+/cutler_pl/blob/main/(\S+)")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "*.md"], capture_output=True, text=True, check=False)
    return listing.stdout.split() or [path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.md")]


def has_anchor(page: Path, anchor: str) -> bool:
    """Whether a heading has it; those that the site's build makes are checked on the site."""
    return not anchor or anchor in anchors(page) or "<!-- generated: " in page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
        own = OWN_FILE.fullmatch(link)
        if not own and re.match(r"\w+:", link):
            continue
        name, _, anchor = (own[1] if own else link).partition("#")
        target = (ROOT if own else (ROOT / page).parent) / name if name else ROOT / page
        if not target.exists() or not has_anchor(target, anchor):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages())
def test_foreign_links_are_well_formed(page: str) -> None:
    links = LINK.findall(FENCE.sub("", (ROOT / page).read_text(encoding="utf-8")))
    foreign = [urlsplit(link) for link in links if re.match(r"\w+:", link)]
    hosts = re.compile(r"[\w-]+(\.[\w-]+)+")
    assert [link.geturl() for link in foreign if link.scheme not in ("http", "https", "mailto")] == []
    assert [link.geturl() for link in foreign if link.scheme != "mailto" and not hosts.fullmatch(link.netloc)] == []


def test_pages_named_in_files_exist() -> None:
    """Comments, messages and option files name pages as `docs/<page>.md`."""
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    named = {
        (name, page)
        for name in listing.stdout.split()
        if name.endswith((".py", ".yaml", ".yml", ".sh", ".html", ".toml", "NOTICE")) and (ROOT / name).is_file()
        for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.(?:md|jpg|svg|png|py)\b", (ROOT / name).read_text("utf-8"))
    }
    assert {(name, page) for name, page in named if not (ROOT / page).is_file()} == set()


def test_links_are_found() -> None:
    assert LINK.findall("[a](b.md#c) ![d](e.jpg) [f](https://g.h/i)") == ["b.md#c", "e.jpg", "https://g.h/i"]
    assert "who-may-import-whom" in anchors(ROOT / "docs" / "architecture.md")


@pytest.mark.parametrize("address", RELEASED.values())
def test_notice_names_each_released_file(address: str) -> None:
    assert re.search(rf"^\s+{re.escape(PurePosixPath(address).name)}\b", NOTICE, re.MULTILINE)


def test_notice_names_each_dataset() -> None:
    named = {name.strip() for group in re.findall(r"\[([^\]]+)\]", NOTICE) for name in group.split(",")}
    assert named == set(CATALOG)


def test_notice_names_annotation_files() -> None:
    semi = {name for name in released_annotations.RELEASED if name.startswith("coco_semi_")}
    files = {
        PurePosixPath(released_annotations.RELEASED[name]).name for name in released_annotations.RELEASED.keys() - semi
    }
    assert {name for name in files if name not in NOTICE} == set()
    percents = re.findall(r"\{([\d,]+)\}perc_instances_train2017\.json", NOTICE)
    assert percents == [",".join(sorted((name.removeprefix("coco_semi_") for name in semi), key=int))]


def test_notice_names_each_backbone() -> None:
    assert {name for name in BACKBONES if not re.search(rf"\b{name}\b", NOTICE)} == set()


def test_version_stands_in_one_place() -> None:
    """pyproject.toml states it; the package reads the installed metadata, and no other file repeats it."""
    assert importlib.metadata.version("cutler_pl") == VERSION
    stated = re.compile(r"""(?:^|\W)_{0,2}version_{0,2}["']?\s*[:=]\s*["']?\d+\.\d+\.\d+""", re.IGNORECASE)
    files = [*(ROOT / "cutler_pl").rglob("*.py"), ROOT / "CITATION.cff", ROOT / "mkdocs.yml"]
    found = [p.name for p in files if stated.search(re.sub(r"cff-version.*", "", p.read_text(encoding="utf-8")))]
    assert found == []
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", PROJECT["version"])


def test_changelog_keeps_its_form() -> None:
    """Keep a Changelog: Unreleased first, versions with dates below it, newest first, known kinds of change."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", section) for section in sections[1:]]
    assert all(versions)
    numbers = [tuple(map(int, match.groups())) for match in versions if match]
    assert numbers == sorted(numbers, reverse=True)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
