"""Batch norms folded into the convolutions before them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from cutler_pl.models.fold import can_fold, fold_batch_norms

CHANNELS = 8


class Block(nn.Module):
    """Two convolutions with norms, and a nested one."""

    def __init__(self, norm: Callable[[int], nn.Module], *, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CHANNELS, 3, padding=1, bias=bias)
        self.norm = norm(CHANNELS)
        self.relu = nn.ReLU()
        self.inner = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=bias), norm(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.relu(self.norm(self.conv(x))))


def block(norm: Callable[[int], nn.Module], *, bias: bool = False) -> Block:
    """A block in eval mode whose norms have statistics, weights and biases of their own."""
    module = Block(norm, bias=bias)
    for layer in (module.norm, module.inner[1]):
        for name in ("weight", "bias", "running_mean", "running_var"):
            if getattr(layer, name, None) is not None:
                with torch.no_grad():
                    getattr(layer, name).uniform_(0.5, 2.0)
    return module.eval()


def norms_of(module: nn.Module) -> list[type]:
    return [type(m) for m in module.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d | nn.GroupNorm)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d])
def test_folded_equals_unfolded(norm: Callable[[int], nn.Module], bias: bool) -> None:
    module, images = block(norm, bias=bias), torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        expected = module(images)
        folded = fold_batch_norms(module)
        assert norms_of(folded) == []
        torch.testing.assert_close(folded(images), expected, rtol=1e-5, atol=1e-5)


def test_group_norm_is_left_alone() -> None:
    module, images = block(lambda channels: nn.GroupNorm(2, channels)), torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        folded = fold_batch_norms(module)
        assert len(norms_of(folded)) == 2
        assert folded.inner[1].weight is module.inner[1].weight
        assert torch.equal(folded(images), module(images))


def test_original_module_is_untouched() -> None:
    module = block(nn.BatchNorm2d)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with torch.no_grad():
        fold_batch_norms(module)
    assert norms_of(module) == [nn.BatchNorm2d] * 2
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_norm_without_convolution_before_it_stays() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    assert norms_of(fold_batch_norms(module)) == [nn.BatchNorm2d] * 2


def test_fold_in_inference_only() -> None:
    module, images = block(nn.BatchNorm2d), torch.zeros(1, 3, 4, 4)
    assert not can_fold(module, images)  # gradients are on
    with torch.no_grad():
        assert can_fold(module, images)
        assert not can_fold(module.train(), images)
