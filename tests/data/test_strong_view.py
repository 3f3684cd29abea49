"""The student's view of an image: other pixels in the same places."""

from functools import partial

import pytest
import torch
from kornia.augmentation import ColorJitter, RandomErasing, RandomGaussianBlur, RandomGrayscale

from cutler_pl.data import StrongView
from cutler_pl.errors import ConfigError

KEY = {"seed": 3, "step": 7}


def images(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, 256, (3, 24, 40), dtype=torch.uint8, generator=generator) for _ in range(count)]


def strong() -> StrongView:
    return StrongView(
        color_jitter=ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0), grayscale=RandomGrayscale(p=0.5),
        blur=RandomGaussianBlur((3, 3), (0.5, 1.0), p=0.5),
        erasing={"one": RandomErasing(p=0.5), "two": RandomErasing(p=0.5)},
    )  # fmt: skip


def test_off_changes_nothing() -> None:
    given = images()
    assert all(one is other for one, other in zip(StrongView()(given, **KEY), given, strict=True))


def test_draws_depend_on_the_place_alone() -> None:
    """Not on the images beside it or on earlier random numbers, which go on as before."""
    given, before = images(), torch.random.get_rng_state()
    together = strong()(given, **KEY, place=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    alone = strong()(given[1:2], **KEY, place=5)
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[1], strong()(given[1:2], **KEY, place=6)[0])
    assert not torch.equal(together[1], strong()(given[1:2], seed=3, step=8, place=5)[0])
    assert [image.dtype for image in together] == [torch.uint8] * 3


def test_erased_pixels_are_one_rectangle() -> None:
    """All other pixels stay, where they are."""
    (given,) = images(1)
    erasing = {"one": RandomErasing(scale=(0.1, 0.1), ratio=(1.0, 1.0), value=0.5, p=1.0)}
    (erased,) = StrongView(erasing=erasing)([given], **KEY)
    changed = (erased != given).any(dim=0)
    rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
    inside = erased[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert inside.unique().tolist() == [128]
    assert inside[0].numel() == pytest.approx(0.1 * 24 * 40, rel=0.25)
    assert torch.equal(erased[:, ~changed], given[:, ~changed])


def test_rejected_values_name_the_setting() -> None:
    message = r"^teacher\.strong\.erasing\.two: kornia rejects .*give teacher\.strong\.erasing\.two=null$"
    with pytest.raises(ConfigError, match=message):
        StrongView(erasing={"one": None, "two": partial(RandomErasing, unknown=1)})
