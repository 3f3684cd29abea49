"""The page at /docs in a browser: an image is sent, its objects are drawn, and no other host is asked."""

import shutil
from pathlib import Path

import pytest

from cutler_pl import CutLER
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.web.api import Detection, ServerOptions, build_app
from tests.web.serving import served

CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (390, "dark")])
def test_page_sends_and_draws(tmp_path: Path, width: int, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    write_scenes(tmp_path / "images", 1, SceneParams(height=120, width=160), seed=0)
    detector = Detection(CutLER.from_pretrained("tiny_generated", device="cpu"), model="tiny_generated")
    with served(build_app([detector], ServerOptions())) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{client.port}/docs")
        page.locator("input[type=file]").set_input_files(next((tmp_path / "images").iterdir()))
        page.get_by_text("Send").click()
        page.wait_for_selector("figure:not([hidden]) canvas")
        assert "objects in" in page.locator("[role=status]").inner_text()
        assert '"bbox"' in page.locator(".answer").inner_text()
        page.locator("input[name=score_threshold]").fill("nan")
        page.get_by_text("Send").click()
        page.get_by_text("expected a number from 0 to 1 or null; correct the form field").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert {url.split("/")[2] for url in asked} == {f"127.0.0.1:{client.port}"}
        assert errors == []
        browser.close()
