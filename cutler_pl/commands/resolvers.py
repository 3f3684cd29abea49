"""Values that the config tree computes: `${stage:<name>}` is the folder of a recipe's stage."""

from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError


def stage_folder(name: str, *, _root_: DictConfig) -> str:
    """`<output>/stages/<number>_<name>`, numbered from 1 in the order of `recipe.stages`.

    Raises:
        ConfigError: The recipe has no such stage.
    """
    names = list(_root_.recipe.stages)
    if name not in names:
        raise ConfigError(f"the recipe has no stage {name!r}; it has {', '.join(names)}")
    return f"{_root_.recipe.output}/stages/{names.index(name) + 1}_{name}"


def register_resolvers() -> None:
    """Make them known to OmegaConf."""
    OmegaConf.register_new_resolver("stage", stage_folder, replace=True)
