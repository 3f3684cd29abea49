"""Values that the config tree computes: the folder of a recipe's stage, `${stage:<name>}`, and that of a run."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.run_id import run_id


def stage_folder(name: str, *, _root_: DictConfig) -> str:
    """`<output>/stages/<number>_<name>`, numbered from 1 in the order of `recipe.stages`.

    Raises:
        ConfigError: The recipe has no such stage.
    """
    names = list(_root_.recipe.stages)
    if name not in names:
        raise ConfigError(f"the recipe has no stage {name!r}; it has {', '.join(names)}")
    return f"{_root_.recipe.output}/stages/{names.index(name) + 1}_{name}"


def run_folder(name: str, words: Sequence[str]) -> str:
    """`<name>` where the words of the command line give it or another folder, else `<name>/<run id>`, on all ranks.

    Raises:
        ConfigError: The ranks of this run have no common name.
    """
    given = any(word.startswith(("name=", "paths.output_dir=")) for word in words)
    return name if given else f"{name}/{run_id()}"


def register_resolvers() -> None:
    """Make them known to OmegaConf."""
    OmegaConf.register_new_resolver("stage", stage_folder, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
