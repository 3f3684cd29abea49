"""The documentation's site: built without warnings and without a network, whole, and made from what the code says."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

import cutler_pl
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.weights.sources import PACKAGED, RELEASED
from tests.repository.built_site import Page, dead_links, is_foreign, read_site

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
MOST_SECONDS = 60  # of one core
APART = {"commands", "reports", "web"}
pytestmark = pytest.mark.xdist_group("site")  # it is built once


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where every connection is refused."""
    folder = tmp_path_factory.mktemp("site")
    refused = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | refused | {"NO_MKDOCS_2_WARNING": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < MOST_SECONDS
    return folder.resolve()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """No line per request."""


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return read_site(site)


def text_of(site: Path, page: str) -> str:
    """The source of a page of the site, without its entities."""
    return unescape((site / page / "index.html").read_text(encoding="utf-8"))


def keys(settings: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of the settings of a file of `conf/`."""
    for key, value in settings.items():
        if key != "defaults" or prefix:
            yield from keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else (f"{prefix}{key}",)


def test_site_has_every_page(site: Path) -> None:
    built = [page.removesuffix(".md").removesuffix("index") for page in PAGES]
    assert [name for name in built if not (site / name / "index.html").is_file()] == []


def test_navigation_names_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))) == PAGES


def test_links_and_anchors_exist(pages: dict[Path, Page]) -> None:
    assert dead_links(pages) == []


def test_pages_load_nothing_foreign(site: Path, pages: dict[Path, Page]) -> None:
    assert {address for page in pages.values() for address in page.loaded if is_foreign(address)} == set()
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [found for text in styles for found in re.findall(r"(?:url\(|@import)\W*(?:https?:)?//", text)] == []
    sources = [path.read_text(encoding="utf-8") for path in pages]
    assert not any('class="mermaid"' in text or 'data-md-component="source"' in text for text in sources)


@pytest.mark.slow
def test_browser_asks_no_other_host(site: Path, pages: dict[Path, Page]) -> None:
    """Each page in a real browser, at the width of a phone, which no page is wider than."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("needs a browser: apt-get install chromium")
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_api.sync_playwright() as playwright:
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        base = f"http://127.0.0.1:{server.server_port}/"
        asked: set[str] = set()
        tab.on("request", lambda request: asked.add(request.url))
        wide = []
        for path in pages:
            tab.goto(base + path.relative_to(site).as_posix(), wait_until="networkidle")
            if tab.evaluate("document.documentElement.scrollWidth") > 390:
                wide.append(path.parent.name)
        browser.close()
        server.shutdown()
    assert {url for url in asked if not url.startswith((base, "data:", "blob:"))} == set()
    assert wide == []


def test_api_page_documents_public_names(site: Path) -> None:
    """What the rooms export, but for those that people use by commands, settings and pages."""
    page = text_of(site, "api")
    assert [name for name in cutler_pl.__all__ if f'id="cutler_pl.api.{name}"' not in page] == []
    for init in sorted((ROOT / "cutler_pl").glob("*/__init__.py")):
        room = init.parent.name
        exported = re.search(r"^__all__ = \[(.*?)\]", init.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        if exported and room not in APART:
            names = re.findall(r'"(\w+)"', exported[1])
            assert [name for name in names if not re.search(rf'id="cutler_pl\.[\w.]*\b{name}"', page)] == [], room


def test_commands_page_has_every_setting(site: Path) -> None:
    page = text_of(site, "reference/commands")
    assert [name for name in COMMANDS if f'id="{name}"' not in page] == []
    for name in COMMANDS:
        path = ROOT / "conf" / f"{name}.yaml"
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        assert [key for key in keys(settings) if f"<code>{key}</code>" not in page] == [], name


def test_options_page_has_every_key(site: Path) -> None:
    page = text_of(site, "reference/options")
    for path in (ROOT / "conf").glob("*/**/*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        if group == "local":
            continue
        assert f'id="{group}-{path.stem}"'.replace("/", "-") in page
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        shown = [key for key in keys(settings) if re.search(rf"<code>[\w.]*\b{re.escape(key)}</code>", page)]
        in_one_line = [key for key in keys(settings) if f"{key.split('.')[-1]}: " in page]  # {lr: 0.04, …}
        assert set(keys(settings)) - {*shown, *in_one_line} == set()


def test_reference_has_every_comment(site: Path) -> None:
    """Each line of each comment of `conf/`, but for those on the order of the defaults."""
    files = [site / "reference" / name / "index.html" for name in ("commands", "options")]
    shown = unescape(re.sub(r"<[^>]+>", "", "".join(path.read_text(encoding="utf-8") for path in files)))
    shown = " ".join(shown.replace("`", "").split())
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines() if path.parent.name != "local" else []
        found = [re.search(r"(?:^|\s)#\s?(.*)$", line) for line in lines if not re.search("@package|_self_", line)]
        comments = [re.sub(r"^(\w+): +", r"\1: ", match[1]).replace("`", "") for match in found if match]
        assert [one for one in comments if " ".join(one.split()) not in shown] == [], path


def test_zoo_has_every_file(site: Path) -> None:
    page = text_of(site, "reference/model-zoo")
    assert [name for name in (*PACKAGED, *RELEASED) if not re.search(rf"<code[^>]*>{name}</code>", page)] == []


def test_examples_are_shown_whole(site: Path) -> None:
    """As the file says, so that page and example cannot differ."""
    for path in (ROOT / "docs" / "how-to").glob("another-*.md"):
        page = re.sub(r"<[^>]+>", "", (site / "how-to" / path.stem / "index.html").read_text(encoding="utf-8"))
        example = ROOT / "examples" / f"{path.stem.replace('-', '_')}.py"
        shown = "".join(unescape(page).split())
        assert "".join(example.read_text(encoding="utf-8").split()) in shown
