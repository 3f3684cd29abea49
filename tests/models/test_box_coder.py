import math

import pytest
import torch

from cutler_pl.models.box_coder import decode_boxes, encode_boxes

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def test_deltas_by_hand():
    box, target = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 20]])
    deltas = encode_boxes(box, target, WEIGHTS)
    assert deltas[0].tolist() == pytest.approx([10.0, 0.0, 5 * math.log(2), 0.0])


def test_decoding_takes_boxes_to_their_targets():
    low = torch.rand(50, 2) * 100
    boxes, targets = torch.cat([low, low + 5], 1), torch.cat([low * 0.7, low + 30], 1)
    decoded = decode_boxes(boxes, encode_boxes(boxes, targets, WEIGHTS), WEIGHTS)
    torch.testing.assert_close(decoded, targets, rtol=1e-4, atol=1e-3)


def test_growth_is_capped():
    decoded = decode_boxes(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 99, 99]]), (1.0, 1.0, 1.0, 1.0))
    assert (decoded[0, 2:] - decoded[0, :2]).tolist() == pytest.approx([1000, 1000], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_deltas_are_decoded_in_float32(dtype):
    boxes = torch.tensor([[1000.0, 1000, 1333, 1200]])
    decoded = decode_boxes(boxes, torch.zeros(1, 4, dtype=dtype), WEIGHTS)
    assert decoded.dtype == torch.float32
    assert decoded.tolist() == boxes.tolist()


def test_leading_axes_and_no_boxes():
    assert decode_boxes(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), WEIGHTS).shape == (2, 3, 4)
    assert encode_boxes(torch.ones(0, 4), torch.ones(0, 4), WEIGHTS).shape == (0, 4)
