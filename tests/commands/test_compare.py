"""`cutler maskcut compare=`: several generators on one page."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands.conftest import Command, sentence
from PIL import Image

from cutler_pl.coco.io import load_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut.descriptors import PatchDescriptors

SCRIPT = "scripts/maskcut.py"


@pytest.fixture
def images(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two images with a bright square on grey noise."""
    for seed, name in enumerate(["a/one.png", "two, [x].png"]):
        path = write_image(f"images/{name}", (60, 72), seed=seed)
        pixels = read_image(path) // 8 + 100
        pixels[15:40, 20:50] = (250, 200, 20)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def settings(images: Path, output: Path, generators: str = "maskcut,votecut,promerge") -> list[str]:
    return [
        f"input={images}", f"output={output}", f"compare=[{generators}]", "maskcut=patch_descriptors",
        "maskcut.fixed_size=96", "trainer=cpu", "crf.backend=guided",
    ]  # fmt: skip


def test_draw_generators_side_by_side(
    command: Command, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are computed once per image and backbone: three cell sizes for three generators."""
    (images / "broken.png").write_bytes(b"no image")
    seen: Counter[tuple[int, float]] = Counter()
    describe = PatchDescriptors.forward

    def count(self: PatchDescriptors, pixels: torch.Tensor) -> torch.Tensor:
        seen[self.patch_size, float(pixels.double().sum())] += 1
        return describe(self, pixels)

    monkeypatch.setattr(PatchDescriptors, "forward", count)
    output = tmp_path / "out"
    outcome = command(SCRIPT, *settings(images, output), "compare_images=4", "max_failure_rate=0.5")
    assert outcome.code == 0, outcome.err
    assert sorted(size for size, _ in seen) == [6, 6, 8, 8, 12, 12]
    assert set(seen.values()) == {1}
    page = (output / "index.html").read_text()
    assert page.count('class="row"') == 2
    assert page.count("data:image/jpeg") == 2 * 4
    assert re.search(r"<figcaption>promerge: \d+ masks?, scores? [\d. to]+, \d+\.\d\d\u00a0s</figcaption>", page)
    for text in (
        "CuVLER, CVPR 2024",
        "patch_descriptors patch_size 12",
        "[0.5, 0.8]",
        "broken.png",
        "compare_images=4",
    ):
        assert text in page
    numbers = json.loads((output / "comparison.json").read_text())
    assert list(numbers) == ["maskcut", "votecut", "promerge"]
    for name, counts in numbers.items():
        coco = load_coco(output / name / "annotations.json").coco
        assert len(coco["images"]) == counts["images"] == 2
        assert len(coco["annotations"]) == counts["masks"] > 0
        assert all(0 <= one["score"] <= 1 for one in coco["annotations"])


@pytest.mark.slow
def test_same_masks_as_alone(command: Command, images: Path, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    words = settings(images, together, "uniap,hassod")
    assert command(SCRIPT, *words).code == 0
    words = [word for word in settings(images, alone) if not word.startswith("compare")]
    assert command(SCRIPT, *words, "generator=hassod", "num_workers=0").code == 0
    first, second = (load_coco(folder / "annotations.json").coco for folder in (together / "hassod", alone))
    assert first["images"] == second["images"]
    assert first["annotations"] == second["annotations"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["compare=[maskcut,votcut]"], r"compare= names votcut, and the generators are hassod, maskcut, promerge"),
        (["compare=[uniap,uniap]"], "compare= names uniap twice"),
        (["overlays=true"], "compare= looks at a few images"),
        (["generator=uniap"], "compare= names the generators"),
        (["generator=uniap", "generator.min_patches=2"], "compare= names the generators"),
    ],
)
def test_refuse_unusable_comparisons(
    command: Command, images: Path, tmp_path: Path, words: list[str], expected: str
) -> None:
    assert re.search(expected, sentence(command(SCRIPT, *settings(images, tmp_path / "out"), *words)))
    assert not (tmp_path / "out").exists()


def test_keep_folder_of_other_run(command: Command, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "annotations.json").write_text("{}")
    outcome = command(SCRIPT, *settings(images, output, "uniap"))
    assert "holds annotations.json, which is of no comparison" in sentence(outcome)
    (output / "annotations.json").unlink()
    (output / "comparison.json").write_text('{"hassod": {}}')
    outcome = command(SCRIPT, *settings(images, output, "uniap"))
    assert "holds a comparison of hassod" in sentence(outcome)
    alone = [word for word in settings(images, output) if not word.startswith("compare=")]
    assert "holds a comparison of generators" in sentence(command(SCRIPT, *alone))
    assert [path.name for path in output.iterdir() if not path.name.startswith(".")] == ["comparison.json"]
