"""Values that the config tree computes: folders of the stages of a recipe, such as `${stage:<name>}`, and of a run."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.run_id import run_id


def stage_folder(name: str, *, _root_: DictConfig) -> str:
    """`<output>/stages/<number>_<name>`, numbered from 1 in the order of `recipe.stages`.

    Raises:
        ConfigError: The recipe has no such stage.
    """
    names = _stage_names(_root_)
    if name not in names:
        raise ConfigError(f"the recipe has no stage {name!r}; it has {', '.join(names)}")
    return f"{_root_.recipe.output}/stages/{names.index(name) + 1}_{name}"


def stage_folders(name: str, *, _root_: DictConfig) -> list[str]:
    """The folders of the stages `<name>_0`, `<name>_1`, … in order."""
    names = _stage_names(_root_)
    numbered = [stage for stage in names if stage.rpartition("_")[0] == name and stage.rpartition("_")[2].isdigit()]
    return [stage_folder(stage, _root_=_root_) for stage in numbered]


def last_stage_folder(name: str, *, _root_: DictConfig) -> str:
    """The folder of the last of these stages.

    Raises:
        ConfigError: The recipe has none.
    """
    if not (folders := stage_folders(name, _root_=_root_)):
        raise ConfigError(f"the recipe has no stages {name}_0, {name}_1, …; it has {', '.join(_stage_names(_root_))}")
    return folders[-1]


def _stage_names(root: DictConfig) -> list[str]:
    """All names; those of an entry with `repeat` are numbered from 1, once for each of its values."""
    names: list[str] = []
    for name, entry in root.recipe.stages.items():
        rounds = range(1, 1 + len(entry.repeat or ())) if "repeat" in entry else ()
        names += [f"{stage}_{number}" for number in rounds for stage in entry.stages]
        names += [str(name)] if "repeat" not in entry else []
    return names


def run_folder(name: str, words: Sequence[str]) -> str:
    """`<name>` where the words of the command line give it or another folder, else `<name>/<run id>`, on all ranks.

    Raises:
        ConfigError: The ranks of this run have no common name.
    """
    given = any(word.startswith(("name=", "paths.output_dir=")) for word in words)
    return name if given else f"{name}/{run_id()}"


def dino_of_machine() -> str:
    """The DINO features that this machine can run: those of the paper on a GPU, small ones on a CPU."""
    import torch  # here, since the resolvers are known before a command is chosen

    return "dino_vitb8" if torch.cuda.is_available() else "dino_vits16"


def register_resolvers() -> None:
    """Make them known to OmegaConf."""
    OmegaConf.register_new_resolver("stage", stage_folder, replace=True)
    OmegaConf.register_new_resolver("stages", stage_folders, replace=True)
    OmegaConf.register_new_resolver("last_stage", last_stage_folder, replace=True)
    OmegaConf.register_new_resolver("dino_of_machine", dino_of_machine, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
