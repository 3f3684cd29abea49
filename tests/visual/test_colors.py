import numpy as np
import pytest

from cutler_pl.visual.colors import diverging_table, instance_color, line_color, text_color


def test_instance_colors_stable_and_distinct() -> None:
    colors = np.stack([instance_color(i) for i in range(100)])
    assert np.array_equal(colors, np.stack([instance_color(i) for i in range(100)]))
    assert len(np.unique(colors, axis=0)) == 100


def test_neighboring_colors_far_apart() -> None:
    colors = np.stack([instance_color(i) for i in range(60)]).astype(float)
    for distance in (1, 2, 3):
        assert np.linalg.norm(colors[distance:] - colors[:-distance], axis=1).min() > 60


def test_diverging_blue_neutral_red() -> None:
    table = diverging_table().astype(int)
    middle = table[len(table) // 2]
    assert middle.max() - middle.min() <= 1
    assert table[0, 2] > table[0, 0] + 80
    assert table[-1, 0] > table[-1, 2] + 80


def test_diverging_darkens_evenly() -> None:
    luma = diverging_table() @ np.array([0.2126, 0.7152, 0.0722])
    half = len(luma) // 2
    assert (np.diff(luma[: half + 1]) > -0.8).all()
    assert (np.diff(luma[half:]) < 0.8).all()
    assert luma[half] - max(luma[0], luma[-1]) > 100


def test_diverging_table_is_readonly() -> None:
    with pytest.raises(ValueError, match="read-only"):
        diverging_table()[0] = 0


@pytest.mark.parametrize(
    ("background", "expected"), [((255, 255, 0), (0, 0, 0)), ((0, 0, 120), (255, 255, 255)), ((0, 0, 0), (255,) * 3)]
)
def test_text_contrasts_with_background(background: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert text_color(np.array(background, dtype=np.uint8)) == expected


@pytest.mark.parametrize("index", range(12))
def test_lines_read_on_white_and_black(index: int) -> None:
    srgb = line_color(index).astype(float) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 2.9  # WCAG asks 3 of graphics; one step of 8-bit rounding is let pass
    assert (luminance + 0.05) / 0.05 >= 4.5
