import pytest
import torch

from cutler_pl.models.image_batch import batch_images, check_images

MEAN, STD = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 5.0])


def test_normalise_and_pad_with_zeros():
    """Padding is right and below."""
    images = [torch.full((3, 20, 40), 30, dtype=torch.uint8), torch.full((3, 33, 10), 50, dtype=torch.uint8)]
    batch = batch_images(images, MEAN, STD, divisor=32, channels_last=False)
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.sizes_hw == [(20, 40), (33, 10)]
    assert batch.pixels[0, :, 19, 39].tolist() == [10.0, 2.5, 0.0]
    assert batch.pixels[1, :, 0, 0].tolist() == [20.0, 7.5, 4.0]
    assert not batch.pixels[0, :, 20:].any()
    assert not batch.pixels[0, :, :, 40:].any()


def test_memory_layout_is_a_choice():
    image = torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)
    plain = batch_images([image], MEAN, STD, divisor=32, channels_last=False).pixels
    last = batch_images([image], MEAN, STD, divisor=32, channels_last=True).pixels
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), TypeError, "list of image tensors"),
        ([[0, 1]], TypeError, "list of image tensors"),
        ([torch.zeros(3, 8, 8)], TypeError, "image 0 has dtype torch.float32; expected uint8"),
        ([torch.zeros(8, 8, 3, dtype=torch.uint8)], ValueError, r"image 0 has shape \(8, 8, 3\)"),
        ([torch.zeros(3, 0, 8, dtype=torch.uint8)], ValueError, r"image 0 has shape \(3, 0, 8\)"),
    ],
)
def test_other_inputs_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        check_images(images)
