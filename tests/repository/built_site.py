"""What the tests read of the built pages: anchors, links, and what a browser loads by itself."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED_LINKS = {"stylesheet", "icon", "preconnect", "preload", "manifest", "dns-prefetch"}


class Page(HTMLParser):
    """A page of the site.

    Attributes:
        anchors: Every id.
        links: Where one can go, as written.
        loaded: What a browser fetches to show it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and _LOADED_LINKS & set(values.get("rel", "").split()):
            self.loaded.append(values["href"])
        if tag != "a" and "src" in values:
            self.loaded.append(values["src"])


def read_site(folder: Path) -> dict[Path, Page]:
    """Every page, but that of addresses that do not exist, whose links count from the server's root."""
    return {path: Page(path) for path in sorted(folder.rglob("*.html")) if path.name != "404.html"}


def is_foreign(address: str) -> bool:
    """Whether it is on another host."""
    return bool(urlsplit(address).netloc)


def dead_links(pages: dict[Path, Page]) -> list[str]:
    """Links and files of the site itself that are not there, with the page that has them."""
    dead = []
    for path, page in pages.items():
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                dead.append(f"{path.parent.name}: {address}")
    return sorted(dead)
