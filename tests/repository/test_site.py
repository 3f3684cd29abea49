"""The documentation's site: built without warnings and without a network, with the public API on its page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cutler_pl

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("site")  # it is built once


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where every connection is refused."""
    folder = tmp_path_factory.mktemp("site")
    refused = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | refused | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_site_has_every_page(site: Path) -> None:
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    assert [name for name in pages if not (site / ("" if name == "index" else name) / "index.html").is_file()] == []


def test_navigation_names_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.load(text, _Loader)["nav"])))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_api_page_documents_the_exports(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert [name for name in cutler_pl.__all__ if f'id="cutler_pl.api.{name}"' not in page] == []
    assert 'id="cutler_pl.maskcut.maskcut"' in page
    assert 'id="cutler_pl.errors.CutlerError"' in page


def test_pages_load_no_fonts_from_elsewhere(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert not any("fonts.googleapis" in page or "fonts.gstatic" in page for page in pages)


class _Loader(yaml.SafeLoader):
    """Reads the name of the function that draws diagrams as text."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
