import json
from pathlib import Path

import pytest
import torch

from cutler_pl.training.clipping import clip_tensor_norms_, tensor_norms
from cutler_pl.training.optim import sgd


def test_each_tensor_is_clipped_by_its_own_norm() -> None:
    large, small = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clip_tensor_norms_([large, small], tensor_norms([large, small]), max_norm=1.0)
    torch.testing.assert_close(large, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=0)
    assert small.tolist() == torch.tensor([0.3, 0.4]).tolist()


def test_clipping_equals_torch_on_each_parameter() -> None:
    gradients = [torch.randn(5, 3), torch.randn(7) * 0.01, torch.randn(2, 2, 2) * 10]
    expected = []
    for gradient in gradients:
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(parameter, 0.7)
        expected.append(parameter.grad)
    clip_tensor_norms_(gradients, tensor_norms(gradients), max_norm=0.7)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_norms_are_float32_whatever_the_gradients_are(dtype: torch.dtype) -> None:
    norms = tensor_norms([torch.full((4,), 2.0, dtype=dtype)])
    assert norms.dtype == torch.float32
    assert norms.tolist() == [4.0]


def test_zero_gradients_stay_zero() -> None:
    gradient = torch.zeros(3)
    clip_tensor_norms_([gradient], tensor_norms([gradient]), max_norm=1.0)
    assert gradient.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_noticed(bad: float) -> None:
    assert bool(tensor_norms([torch.ones(3), torch.ones(2)]).isfinite().all())
    assert not bool(tensor_norms([torch.ones(3), torch.tensor([1.0, bad])]).isfinite().all())


@pytest.mark.golden
def test_one_clipped_step_equals_the_original(golden_dir: Path) -> None:
    demo = json.loads((golden_dir / "detector/solver.json").read_text())["clip_demo"]
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(demo["w0"]))
        layer.bias.copy_(torch.tensor(demo["b0"]))
    layer.weight.grad, layer.bias.grad = torch.tensor(demo["gw"]), torch.tensor(demo["gb"])
    optimizer = sgd(layer, lr=demo["lr"], weight_decay=demo["wd"], momentum=demo["momentum"])
    gradients = [layer.weight.grad, layer.bias.grad]
    clip_tensor_norms_(gradients, tensor_norms(gradients), max_norm=1.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor(demo["gw_after"]), rtol=1e-6, atol=0)
    optimizer.step()
    torch.testing.assert_close(layer.weight, torch.tensor(demo["w1"]), rtol=1e-6, atol=0)
    torch.testing.assert_close(layer.bias, torch.tensor(demo["b1"]), rtol=1e-6, atol=0)
