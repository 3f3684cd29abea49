import hashlib
import inspect
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.errors import InputError
from cutler_pl.visual.colors import diverging_table, instance_color
from cutler_pl.visual.draw import as_picture, draw_heatmap, draw_instances, encode_picture, save_picture, side_by_side


def _photo(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _mask(y0: int, x0: int, y1: int, x1: int, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_inside_of_a_mask_is_blended_and_its_outline_is_opaque() -> None:
    photo = np.full((60, 80, 3), 100, dtype=np.uint8)
    drawn = draw_instances(photo, _mask(10, 20, 30, 50)[None], opacity=0.5)
    color = instance_color(0)
    assert np.array_equal(drawn[10, 20], color)
    assert np.array_equal(drawn[29, 49], color)
    assert np.array_equal(drawn[20, 35], np.rint(0.5 * color + 50).astype(np.uint8))
    outside = ~_mask(10, 20, 30, 50)
    assert (drawn[outside] == 100).all()


def test_photo_and_masks_are_left_as_they_were() -> None:
    photo, masks = _photo(), _mask(10, 20, 30, 50)[None]
    before, masks_before = photo.copy(), masks.copy()
    drawn = draw_instances(photo, masks, boxes=np.array([[20.0, 10, 50, 30]]), scores=[0.9])
    assert np.array_equal(photo, before)
    assert np.array_equal(masks, masks_before)
    assert not np.shares_memory(drawn, photo)


def test_tensor_and_array_inputs_give_the_same_picture() -> None:
    photo, masks, boxes = (
        _photo(),
        np.stack([_mask(5, 5, 40, 40), _mask(20, 30, 50, 70)]),
        [[5, 5, 40, 40], [30, 20, 70, 50]],
    )
    from_arrays = draw_instances(photo, masks, boxes=np.array(boxes), scores=np.array([0.5, 0.25]))
    from_tensors = draw_instances(
        torch.as_tensor(photo).permute(2, 0, 1),
        torch.as_tensor(masks),
        boxes=torch.tensor(boxes),
        scores=torch.tensor([0.5, 0.25]),
    )
    assert np.array_equal(from_arrays, from_tensors)


def test_small_mask_stays_visible_on_a_large_one_whatever_the_order() -> None:
    large, small = _mask(0, 0, 60, 80), _mask(20, 20, 30, 30)
    for order, index in (([large, small], 1), ([small, large], 0)):
        drawn = draw_instances(_photo(), np.stack(order))
        assert np.array_equal(drawn[20, 20], instance_color(index))


def test_color_of_an_object_follows_its_number() -> None:
    photo = np.zeros((60, 80, 3), dtype=np.uint8)
    drawn = draw_instances(
        photo, np.stack([_mask(0, 0, 5, 5), _mask(10, 10, 50, 50), _mask(0, 70, 8, 80)]), opacity=1.0
    )
    assert [tuple(drawn[y, x]) for y, x in ((2, 2), (30, 30), (4, 75))] == [tuple(instance_color(i)) for i in range(3)]


@pytest.mark.parametrize("masks", [None, np.zeros((0, 60, 80), dtype=bool), torch.zeros(0, 60, 80, dtype=torch.bool)])
def test_no_objects_give_the_photo_back(masks: np.ndarray | torch.Tensor | None) -> None:
    photo = _photo()
    assert np.array_equal(draw_instances(photo, masks), photo)
    nothing = draw_instances(photo, masks, boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=[])
    assert np.array_equal(nothing, photo)


def test_empty_mask_draws_nothing() -> None:
    photo = _photo()
    assert np.array_equal(draw_instances(photo, np.zeros((2, 60, 80), dtype=bool)), photo)


def test_box_covers_its_pixels_and_not_one_more() -> None:
    photo = np.zeros((60, 80, 3), dtype=np.uint8)
    drawn = draw_instances(photo, None, boxes=np.array([[10.0, 20, 30, 40]]))
    changed = np.argwhere(drawn.any(axis=2))
    assert changed.min(axis=0).tolist() == [20, 10]
    assert changed.max(axis=0).tolist() == [39, 29]
    assert not drawn[30, 20].any()


def test_box_without_extent_or_outside_the_image_is_harmless() -> None:
    photo = _photo()
    boxes = np.array([[10.0, 10, 10, 30], [200.0, 200, 300, 300], [-50.0, -50, -10, -10]])
    assert np.array_equal(draw_instances(photo, None, boxes=boxes), photo)


def test_lines_and_text_grow_with_the_image() -> None:
    def marked(side: int, **tags: object) -> int:
        photo = np.zeros((side, side, 3), dtype=np.uint8)
        boxes = np.array([[0.25, 0.25, 0.75, 0.75]]) * side
        return int(draw_instances(photo, None, boxes=boxes, **tags).any(axis=2).sum())

    assert marked(1920) == pytest.approx(9 * marked(640), rel=0.05)
    text_small, text_large = (marked(s, labels=["object"]) - marked(s) for s in (640, 1920))
    assert 7 < text_large / text_small < 11


@pytest.mark.parametrize("corner", [(0, 0), (75, 55), (-20, -20), (500, 500)])
def test_tag_stays_inside_the_image(corner: tuple[int, int]) -> None:
    photo = np.zeros((60, 80, 3), dtype=np.uint8)
    x, y = corner
    drawn = draw_instances(photo, None, boxes=np.array([[x, y, x + 1, y + 1]]), scores=[0.5])
    assert drawn.any(axis=2).sum() > 50


def test_tag_without_boxes_sits_at_the_mask() -> None:
    photo = np.zeros((200, 200, 3), dtype=np.uint8)
    masks = _mask(100, 120, 180, 190, (200, 200))[None]
    plain, tagged = draw_instances(photo, masks), draw_instances(photo, masks, scores=[0.5])
    ys, xs = np.nonzero((plain != tagged).any(axis=2))
    assert ys.min() >= 100
    assert xs.min() >= 120
    assert ys.max() < 120


def test_masks_of_another_size_than_the_image_are_refused() -> None:
    with pytest.raises(InputError, match=r"masks of \(60, 80\) do not fit an image of \(30, 40\)"):
        inspect.unwrap(draw_instances)(_photo(30, 40), np.zeros((1, 60, 80), dtype=bool))  # without the shape hook


def test_different_numbers_of_masks_and_scores_are_refused() -> None:
    with pytest.raises(InputError, match="2 masks, 3 scores"):
        draw_instances(_photo(), np.zeros((2, 60, 80), dtype=bool), scores=[0.1, 0.2, 0.3])


def test_drawing_twice_gives_the_same_bytes() -> None:
    masks = np.stack([_mask(5, 5, 40, 40), _mask(20, 30, 50, 70)])
    digests = {
        hashlib.sha256(encode_picture(draw_instances(_photo(), masks, scores=[0.5, 0.2]), suffix=".png")).hexdigest()
        for _ in range(3)
    }
    assert len(digests) == 1


def test_heatmap_centre_is_neutral_below_is_blue_and_above_is_red() -> None:
    table = diverging_table()
    values = np.array([[-2.0, 0.0, 2.0]])
    drawn = draw_heatmap(_photo(10, 30), values, center=0.0, opacity=1.0)
    assert np.array_equal(drawn[5, 5], table[0])
    assert np.array_equal(drawn[5, 15], table[len(table) // 2])
    assert np.array_equal(drawn[5, 25], table[-1])


def test_heatmap_is_centred_on_the_mean_where_maskcut_splits() -> None:
    values = np.array([[1.0, 1.0, 1.0, 5.0]])
    drawn = draw_heatmap(_photo(4, 4), values, opacity=1.0).astype(int)
    assert drawn[0, 0, 2] > drawn[0, 0, 0]
    assert drawn[0, 3, 0] > drawn[0, 3, 2]


def test_heatmap_limit_makes_pictures_comparable() -> None:
    one = draw_heatmap(_photo(), np.array([[0.0, 1.0]]), center=0.0, limit=2.0, opacity=1.0)
    assert np.array_equal(one[0, -1], diverging_table()[192])


def test_heatmap_nearest_shows_patches_and_bilinear_a_smooth_map() -> None:
    values = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    nearest = draw_heatmap(_photo(40, 40), values, opacity=1.0)
    smooth = draw_heatmap(_photo(40, 40), values, opacity=1.0, interpolation="bilinear")
    assert len(np.unique(nearest.reshape(-1, 3), axis=0)) == 2
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_heatmap_of_a_constant_is_neutral(value: float) -> None:
    drawn = draw_heatmap(_photo(8, 8), np.full((2, 2), value), opacity=1.0)
    assert (drawn == diverging_table()[128]).all()


def test_heatmap_shows_values_that_are_not_finite_as_black() -> None:
    drawn = draw_heatmap(_photo(4, 6), np.array([[0.0, np.nan, 1.0]]), opacity=1.0)
    assert not drawn[:, 2:4].any()
    assert drawn[:, [0, 1, 4, 5]].any(axis=2).all()


def test_heatmap_blends_with_the_grey_of_the_photo() -> None:
    photo = np.full((4, 4, 3), 40, dtype=np.uint8)
    drawn = draw_heatmap(photo, np.zeros((2, 2)), opacity=0.5)
    assert np.array_equal(drawn[0, 0], np.rint(0.5 * diverging_table()[128] + 20).astype(np.uint8))


def test_side_by_side_brings_panels_to_one_height_in_order() -> None:
    red = np.full((50, 50, 3), (200, 0, 0), dtype=np.uint8)
    green = np.full((100, 60, 3), (0, 200, 0), dtype=np.uint8)
    row = side_by_side([red, green])
    middle = row[row.shape[0] // 2]
    assert row.shape[0] >= 100
    assert np.flatnonzero((middle == (200, 0, 0)).all(axis=1)).size == 100
    assert np.flatnonzero((middle == (0, 200, 0)).all(axis=1)).size == 60
    assert (
        np.flatnonzero((middle == (200, 0, 0)).all(axis=1)).max()
        < np.flatnonzero((middle == (0, 200, 0)).all(axis=1)).min()
    )


def test_side_by_side_writes_titles_above_and_shortens_those_that_do_not_fit() -> None:
    panel = np.full((60, 60, 3), 128, dtype=np.uint8)
    plain, titled = (
        side_by_side([panel, panel]),
        side_by_side([panel, panel], ["a", "a title far too long for its panel"]),
    )
    assert titled.shape[1] == plain.shape[1]
    added = titled.shape[0] - plain.shape[0]
    assert added > 8
    title_bar = titled[:added]
    assert (title_bar < 128).any()
    assert (title_bar[:, -3:] == 255).all()


@pytest.mark.parametrize(("panels", "titles"), [(0, None), (2, ["one"])])
def test_side_by_side_refuses_nothing_and_mismatched_titles(panels: int, titles: list[str] | None) -> None:
    with pytest.raises(InputError, match=f"found {panels} panels"):
        side_by_side([_photo()] * panels, titles)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_saved_picture_has_the_kind_of_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"a<b>&{suffix}"
    save_picture(path, _photo())
    with Image.open(path) as image:
        kind, size = image.format, image.size
    assert kind == {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    assert size == (80, 60)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saved_picture_is_shrunk_to_the_longest_side_but_never_enlarged() -> None:
    shrunk = Image.open(io.BytesIO(encode_picture(_photo(60, 80), suffix=".png", max_side=40)))
    same = Image.open(io.BytesIO(encode_picture(_photo(60, 80), suffix=".png", max_side=400)))
    assert shrunk.size == (40, 30)
    assert same.size == (80, 60)


def test_as_picture_of_a_tensor_is_channels_last_and_a_copy() -> None:
    image = torch.arange(24, dtype=torch.uint8).reshape(3, 2, 4)
    picture = as_picture(image)
    picture[0, 0] = 99
    assert picture.shape == (2, 4, 3)
    assert image[0, 0, 0] == 0
