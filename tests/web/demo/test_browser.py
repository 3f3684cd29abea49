"""The page as people use it: a real server, driven by a real browser."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutler_pl.coco import rle

from .conftest import Server
from .uploads import BAD_UPLOADS, write_bad_upload

Visit = Callable[..., Any]
DETECTOR, MASKCUT = 0, 1


@pytest.fixture
def jpeg(tmp_path: Path, upright_jpeg: bytes) -> Path:
    (tmp_path / "on its side.jpg").write_bytes(upright_jpeg)
    return tmp_path / "on its side.jpg"


def upload(page: Any, file: Path, *, tab: int = DETECTOR) -> None:
    page.locator("input[type=file]").nth(tab).set_input_files(file)


def open_maskcut(page: Any) -> None:
    page.get_by_role("tab", name="MaskCut").click()
    page.get_by_role("button", name="Cut masks").wait_for()


def downloaded(page: Any, label: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=label, exact=True).click()
    return Path(download.value.path()).read_bytes()


def test_detect_read_table_download(visit: Visit, jpeg: Path) -> None:
    """An upload is answered without a click; its EXIF orientation holds for figure, table and files."""
    page = visit()
    upload(page, jpeg)
    page.wait_for_selector(".found tbody tr")
    rows = page.locator(".found tbody tr").all_inner_texts()
    assert "by tiny_generated on the CPU; image of 320 × 240 pixels" in page.locator(".status").first.inner_text()

    coco = json.loads(downloaded(page, "COCO JSON"))
    assert coco["images"] == [{"id": 1, "file_name": jpeg.name, "height": 240, "width": 320}]
    assert len(coco["annotations"]) == len(rows) >= 1
    assert f"{coco['annotations'][0]['score']:.2f}" in rows[0]
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "Masks and COCO JSON (zip)"))) as files:
        assert json.loads(files.read("annotations.json")) == coco
        mask = np.asarray(Image.open(io.BytesIO(files.read("masks/001.png"))))
    np.testing.assert_array_equal(mask == 255, rle.decode(coco["annotations"][0]["segmentation"]))

    figures = page.locator("img[src*='/results/']")
    sizes = [figures.nth(i).evaluate("image => [image.naturalWidth, image.naturalHeight]") for i in range(2)]
    assert sizes == [[320, 240], [320, 240]]


def test_threshold_changes_the_table(visit: Visit, jpeg: Path) -> None:
    page = visit()
    upload(page, jpeg)
    page.wait_for_selector(".found tbody tr")
    page.get_by_label("number input for Score threshold").fill("1")
    page.get_by_role("button", name="Detect objects").click()
    page.wait_for_selector("p.none")
    assert page.locator(".found").count() == 0


def test_maskcut_shows_its_rounds(visit: Visit) -> None:
    """An example is answered by a click; N, and what of each round is shown."""
    page = visit(width=390, scheme="dark")
    open_maskcut(page)
    page.get_by_label("number input for N").fill("2")
    page.locator("button:visible:has(img[src*='/examples/'])").first.click()
    page.wait_for_selector(".rounds li")
    assert page.locator(".rounds li").count() == 2
    captions = page.locator(".rounds li").first.locator("figcaption").all_inner_texts()
    assert captions == ["eigenvector", "mask before refinement", "mask after refinement"]
    assert "by patch_descriptors" in page.locator(".status").nth(MASKCUT).inner_text()
    assert page.locator("body.dark").count() == 1


def test_no_tab_is_wider_than_a_phone(visit: Visit, jpeg: Path) -> None:
    page = visit(width=390)
    upload(page, jpeg)
    page.wait_for_selector(".found tbody tr")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 390
    open_maskcut(page)
    assert page.evaluate(wide) <= 390


@pytest.mark.parametrize(
    "name",
    [
        "text.jpg",
        "large.jpg",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("script.svg", "truncated.jpg", "bomb.png")),
    ],
)
def test_bad_file_gets_a_sentence(visit: Visit, tmp_path: Path, name: str) -> None:
    page = visit()
    upload(page, write_bad_upload(tmp_path, name))
    page.wait_for_selector(".status.error, .toast-body")
    assert BAD_UPLOADS[name] in page.locator(".status.error, .toast-body").first.inner_text()
    assert page.title() == "CutLER"


def test_users_wait_for_their_turn(visit: Visit, jpeg: Path, server: Server) -> None:
    """Each gets the answer to an own request, and sees the place in the queue until then."""
    pages = [visit(width=390), visit(width=390), visit(width=390)]
    for number, page in enumerate(pages, start=1):
        open_maskcut(page)
        page.get_by_label("number input for N").fill(str(10 - number))
    for page in pages:
        upload(page, jpeg, tab=MASKCUT)
    pages[-1].wait_for_selector("text=/queue: \\d/")
    for number, page in enumerate(pages, start=1):
        page.wait_for_selector(".rounds li")
        assert page.locator(".rounds li").count() == 10 - number
    assert server.request("/")[0] == 200


def test_switch_between_light_and_dark(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.locator("body.dark").count() == 1
