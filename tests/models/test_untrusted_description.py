"""What a file says of its model, and whether a training can be resumed from it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models.description import described_options
from cutler_pl.models.resume import check_resume

GOOD: dict[str, Any] = {"detector": {"num_classes": 2}, "category_ids": [3, 7], "class_names": ["a", "b"]}
STATE = {"w": torch.zeros(1)}


def test_read_description() -> None:
    assert described_options(GOOD, STATE, name="a") == ({"num_classes": 2}, (3, 7), ("a", "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"detector": 5},
        {"detector": {"unknown": 1}},
        {"detector": {"num_classes": "two"}},
        {"detector": {"num_classes": 10**9}},
        {"detector": {"num_classes": None}},
        {"detector": {"mask_head_convs": 50}},
        {"detector": {"stage_ious": 3}},
        {"detector": {"anchor_sizes": ["x"] * 5}},
        {"detector": {"anchor_sizes": [float("nan")] * 5}},
        {"detector": {"anchor_sizes": [1e9] * 5}},
        {"detector": {"backbone": 3}},
        {"detector": {"score_threshold": float("nan")}},
        {"category_ids": None},
        {"category_ids": [3]},
        {"category_ids": [3, 3]},
        {"category_ids": [3, "7"]},
        {"class_names": "ab"},
        {"class_names": ["a"]},
    ],
    ids=str,
)
def test_refuse_wrong_description(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"^a: .*(model|weights).*(again|CUTLER_PL_MAX_CHANNELS=\S+)$"):
        described_options(GOOD | change, STATE, name="a")


@pytest.mark.parametrize("value", [0, 1.5, True, "", ["a"]])
def test_resume_is_a_path(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"resume=.* is no path"):
        check_resume(value)


def test_resume_from_something_else(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"resume: .*no such file"):
        check_resume(tmp_path / "none.ckpt")
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"resume: .*is empty"):
        check_resume(path)
    torch.save({"state_dict": {"w": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match=r"optimizer_states, lr_schedulers, loops is missing.*model\.init"):
        check_resume(path)


def test_resume_from_weights_without_names(tmp_path: Path) -> None:
    content = {"state_dict": {1: torch.zeros(1, dtype=torch.int8)}, "optimizer_states": [], "lr_schedulers": []}
    torch.save(content | {"loops": {}, "global_step": 3}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"resume: .*: 1 is of type int8"):
        check_resume(tmp_path / "a.ckpt")
