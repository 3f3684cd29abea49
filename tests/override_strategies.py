"""Hypothesis strategies of overrides: settings of a command with values of every kind."""

import json
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.sentences import explain
from cutler_pl.commands.value_rules import Free
from cutler_pl.commands.values import check_values, settings_of
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.config_tree import config_dir

CHOSEN = {
    "maskcut": ["maskcut=patch_descriptors"],
    "train": ["experiment=quickstart", "data/validation=folder"],
    "predict": ["model=cascade_mask_rcnn_tiny"],
    "evaluate": [],
    "self_train": [],
    "serve": [],
    "export": [],
    "quickstart": [],
    "own": [],
    "make_coco_splits": [],
    "export_labels": ["format=coco"],
    "discover": ["maskcut=patch_descriptors"],
    "quality": [],
    "calibrate": ["maskcut=patch_descriptors"],
    "prepare_dataset": ["name=coco"],
    "merge_shards": [],
    "convert_checkpoint": [],
    "demo": [],
}
ODD = [
    "nan", "inf", "-inf", "null", "true", "false", "[]", "{}", "[[]]", "{a:1}", "abc", "''", "' '", "'1'", "[nan]",
    "1e300", "-1e300", "1e-300", "9223372036854775808", "-9223372036854775809", "1" * 400, "0", "-0.0", "1_0", "0x10",
    "???", "${seed}", "${none}", "a,b", "[1,2", "'", "\\", "=", "\u00e9", "[true]", "['a',1]",
]  # fmt: skip
numbers = st.one_of(st.integers(-3, 1000), st.floats(allow_nan=True), st.integers()).map(repr)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=300), max_size=8)
values = st.one_of(
    st.sampled_from(ODD), numbers, texts, st.lists(numbers, max_size=4).map(lambda items: f"[{','.join(items)}]")
)


@cache
def names(command: str) -> list[str]:
    """Settings that are neither groups nor paths nor another package's."""
    register_params()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(command, overrides=CHOSEN[command])
    found = settings_of(command, cfg)
    return [name for name, rule, value in found if not isinstance(rule, Free) and not isinstance(value, DictConfig)]


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """A command and one override of it, as JSON."""
    command = draw(st.sampled_from(list(CHOSEN)))
    name = draw(st.sampled_from(names(command)))
    return json.dumps([command, name, draw(values)])


def check_overrides(path: Path) -> None:
    """Compose and check what a file of `overrides` says.

    Raises:
        ConfigError: It is refused; the sentence names the setting.
    """
    command, name, value = json.loads(path.read_text())
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose(command, overrides=[*CHOSEN[command], f"{name}={value}"])
            check_values(command, cfg)
    except (HydraException, OmegaConfBaseException) as error:
        sentence = explain(error, command)
        assert sentence is not None
        raise ConfigError(sentence) from error
    except ConfigError as error:
        if name.rpartition(".")[2] not in str(error):
            raise RuntimeError(f"{error}: does not name {name}") from error
        raise
    except ValueError as error:
        if not str(error).startswith("Config group override"):  # `launch` says what a group takes
            raise
        raise ConfigError(str(error)) from error
