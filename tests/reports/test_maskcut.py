from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.reports.maskcut import MAX_IMAGES, draw_overlay, draw_steps, write_maskcut_page
from cutler_pl.visual.figure_path import figure_path
from cutler_pl.visual.image_files import save_image

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
HOSTILE = "<b>|&'\" photo [1].png"


def test_overlay_scales_masks_to_image() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[:, 15:] = True
    drawn = draw_overlay(IMAGE, [mask])
    assert drawn.shape == IMAGE.shape
    assert np.array_equal(drawn[:, :44], np.rint(IMAGE[:, :44] * np.float32(0.4)).astype(np.uint8))
    assert not drawn[:, 44].any()
    assert np.array_equal(draw_overlay(IMAGE, []), IMAGE)


def test_steps_show_every_round() -> None:
    found = ImageMasks(
        "a.jpg",
        torch.zeros(3, 16, 16, dtype=torch.uint8),
        coarse=torch.ones(3, 4, 4, dtype=torch.bool),
        refined=torch.zeros(3, 16, 16, dtype=torch.bool),
        scores=torch.rand(3).double(),
        agreements=torch.zeros(3).double(),
        provenance=[{}, {}, {}],
        dropped={},
        maps={f"eigenvector {number}": torch.rand(4, 4) for number in (1, 2, 3)},
    )
    height, width, _ = draw_steps(IMAGE, found).shape
    assert 256 < height < 320
    assert width > 6 * 384
    confident = replace(found, confidence=torch.full((3, 4, 4), 51, dtype=torch.uint8))
    assert draw_steps(IMAGE, confident).shape[1] == width  # of masks that are kept alone
    found.refined[1] = True
    assert draw_steps(IMAGE, confident).shape[1] > width + 384


def test_page_links_figures_and_escapes_names(tmp_path: Path) -> None:
    save_image(figure_path(tmp_path / "steps", HOSTILE), IMAGE)
    report = MergeReport(images=2, annotations=1, without_annotations=1, failed={"<i>x</i>.jpg": "broken"})
    write_maskcut_page(tmp_path, [HOSTILE, "<i>x</i>.jpg", "never drawn.jpg"], report, generator="maskcut")
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;|&amp;&#39;&#34; photo [1].png" in page
    assert "<b>" not in page
    assert "&lt;i&gt;x&lt;/i&gt;.jpg" in page
    assert page.count("<img") == 1


def test_large_run_shows_every_nth_image(tmp_path: Path) -> None:
    names = [f"{number:04d}.jpg" for number in range(3 * MAX_IMAGES)]
    for name in names[:7]:
        save_image(figure_path(tmp_path / "steps", name), IMAGE)
    report = MergeReport(images=len(names), annotations=0, without_annotations=0)
    write_maskcut_page(tmp_path, names, report, generator="promerge")
    page = (tmp_path / "index.html").read_text()
    assert [name for name in names[:7] if f"steps/{name}" in page] == names[:7:3]
    assert "background candidates" in page
    assert "eigenvector" not in page
