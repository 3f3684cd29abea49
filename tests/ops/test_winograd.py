"""Winograd's convolution beside PyTorch's, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutler_pl.ops.winograd import WinogradConv2d, fits, transform_kernel, winograd_conv


def _case(batch: int, channels: int, out_channels: int, height: int, width: int) -> tuple[torch.Tensor, nn.Conv2d]:
    torch.manual_seed(0)
    return torch.randn(batch, channels, height, width), nn.Conv2d(channels, out_channels, 3, padding=1)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 5), (4, 4), (7, 9), (8, 12), (33, 70)])
@pytest.mark.parametrize("channels", [(1, 3), (5, 2)])
def test_equals_direct_convolution(size_hw: tuple[int, int], channels: tuple[int, int]) -> None:
    x, conv = _case(2, *channels, *size_hw)
    with torch.no_grad():
        expected = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
        found = WinogradConv2d(conv)(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


def test_layout_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, conv = _case(2, 8, 8, 50, 66)
    kernel, bias = transform_kernel(conv.weight.detach()), conv.bias.detach()
    usual = winograd_conv(x, kernel, bias)
    assert usual.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(winograd_conv(x.contiguous(memory_format=torch.channels_last), kernel, bias), usual)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    torch.testing.assert_close(winograd_conv(x, kernel, bias), usual, atol=1e-6, rtol=0)


def test_empty_batch() -> None:
    _, conv = _case(1, 4, 6, 8, 8)
    assert WinogradConv2d(conv)(torch.zeros(0, 4, 14, 14)).shape == (0, 6, 14, 14)


def test_without_bias() -> None:
    x = torch.randn(1, 4, 8, 8)
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    with torch.no_grad():
        torch.testing.assert_close(WinogradConv2d(conv)(x), conv(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
    ],
)
def test_other_modules_do_not_fit(conv: nn.Module) -> None:
    assert not fits(conv)
    assert fits(nn.Conv2d(4, 4, 3, padding=1))
