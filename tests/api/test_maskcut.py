"""MaskCut people call: what the command writes, without the command."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cutler_pl import MaskCut
from cutler_pl.api.options import read_maskcut_option
from cutler_pl.commands import maskcut
from cutler_pl.errors import CheckpointError, ConfigError, InputError
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.visual.image_files import save_image

OPTIONS = sorted(path.stem for path in (config_dir() / "maskcut").glob("*.yaml"))


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_those_of_hydra(name: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed = OmegaConf.to_container(compose(overrides=[f"+maskcut={name}"]).maskcut)
    assert isinstance(composed, dict)
    own = read_maskcut_option(name)
    del composed["features"]["_target_"]
    defaults = {key: value for key, value in composed.items() if key not in own}
    assert {key: composed[key] for key in own} == own
    assert defaults.items() <= vars(MaskCutParams()).items()


def test_masks_are_those_of_the_command(tmp_path: Path) -> None:
    image = np.ascontiguousarray(skimage.data.coffee()[:200, 100:360])
    save_image(tmp_path / "in" / "coffee.png", image)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = ["maskcut=patch_descriptors", "trainer=cpu", "num_workers=0", "annotation.scores=true"]
        cfg = compose("maskcut", overrides=[*overrides, f"input='{tmp_path}/in'", f"output='{tmp_path}/out'"])
    written = json.loads(maskcut.run(cfg).read_text())["annotations"]
    result = MaskCut("patch_descriptors", device="cpu").predict(tmp_path / "in" / "coffee.png")
    expected = sorted(written, key=lambda annotation: -annotation["score"])
    assert len(result) == len(expected) > 0
    assert list(result.encoded) == [annotation["segmentation"] for annotation in expected]
    assert result.scores.tolist() == pytest.approx([annotation["score"] for annotation in expected])
    assert result.to_coco(1)[0]["bbox"] == expected[0]["bbox"]


def test_features_are_kept_in_a_folder(tmp_path: Path) -> None:
    image = np.ascontiguousarray(skimage.data.coffee()[:200, 100:360])
    first, second = (MaskCut("patch_descriptors", cache=tmp_path, crf=False, device="cpu") for _ in range(2))
    assert first.predict(image).encoded == second.predict(image).encoded
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_own_parameters_and_no_refinement() -> None:
    image = np.ascontiguousarray(skimage.data.coffee()[:200, 100:360])
    model = MaskCut("patch_descriptors", params=MaskCutParams(tau=0.5, num_masks=1), crf=False, device="cpu")
    result = model.predict(image)
    assert len(result) == 1
    assert torch.equal(result.labels, torch.ones(1, dtype=torch.int64))
    assert result.names == {1: "fg"}


def test_flat_image_has_no_objects(write_image: Callable[..., Path]) -> None:
    result = MaskCut("patch_descriptors", device="cpu").predict(np.full((40, 50, 3), 128, np.uint8))
    assert result.masks.shape == (len(result), 40, 50)


def test_bad_names_and_weights() -> None:
    with pytest.raises(ConfigError, match=r"no maskcut option 'dino_vitb'; did you mean dino_vitb8\?"):
        MaskCut("dino_vitb")
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        MaskCut("dino_vits16", weights="none.pth")
    with pytest.raises(CheckpointError, match=r"missing: .*, …; 1 not of this model: x\)") as caught:
        MaskCut("dino_vits16", weights={"x": torch.zeros(1)})
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="the path is empty"):
        MaskCut("patch_descriptors").predict("")
    with pytest.raises(InputError, match="empty"):
        MaskCut("patch_descriptors").predict([])


@pytest.mark.parametrize("generator", ["promerge", "votecut"])
def test_other_generators_find_masks(generator: str) -> None:
    image = np.ascontiguousarray(skimage.data.coffee()[:200, 100:360])
    found = MaskCut("patch_descriptors", device="cpu", crf=False, generator=generator).predict(image)
    assert len(found)
    assert float(found.scores.max()) <= 1


def test_refuse_options_of_another_generator() -> None:
    with pytest.raises(ConfigError, match="there is no generator 'cutcut'; choose one of hassod, maskcut"):
        MaskCut("patch_descriptors", generator="cutcut")
    with pytest.raises(ConfigError, match="generator=uniap has options of its own, so leave them out"):
        MaskCut("patch_descriptors", generator="uniap", params=MaskCutParams())
    with pytest.raises(ConfigError, match="weights are of one backbone"):
        MaskCut("patch_descriptors", generator="votecut", weights="dino.pth")
