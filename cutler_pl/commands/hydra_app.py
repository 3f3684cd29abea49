"""From the words of a command line to the call of a command: Hydra composes `conf/<command>.yaml` between them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import cast

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.config_store import register_params
from cutler_pl.commands.paths import check_paths
from cutler_pl.commands.sentences import SHOW_TRACEBACKS, one_sentence, wrong_group
from cutler_pl.commands.unused import check_used
from cutler_pl.commands.values import check_values
from cutler_pl.errors import ConfigError, OutputWriteError
from cutler_pl.runtime import signals
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.logging import configure_logging

_HYDRA_FLAGS = frozenset({
    "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run", "-m",
    "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
    "--experimental-rerun", "-i", "--info",
})  # fmt: skip


class _CurrentFolder(SearchPathPlugin):
    """Options of one's own: `conf/` below the current folder."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = Path.cwd() / "conf"
        if own.is_dir() and own != config_dir():
            search_path.append("current folder", f"file://{own}")


@contextmanager
def _no_empty_folder() -> Iterator[None]:
    """Remove the folder that Hydra made for a run that fails before it writes anything, and empty ones above it."""
    try:
        yield
    except BaseException:
        folder, here = Path(HydraConfig.get().runtime.output_dir).resolve(), Path.cwd()
        with suppress(OSError):  # not empty
            while not here.is_relative_to(folder):
                folder.rmdir()
                folder = folder.parent
        raise


def launch(name: str, arguments: list[str]) -> None:
    """Compose a command's config from settings and options of Hydra, and call its `run`.

    Raises:
        ConfigError: There is no such option.
        HydraException: A setting does not exist or cannot be read.
    """
    for word in arguments:
        if word.startswith("-") and word.split("=")[0] not in _HYDRA_FLAGS:
            raise ConfigError(f"cutler {name} has no option {word}; settings are given as name=value, see --cfg job")
        if not word or word.startswith("="):
            raise ConfigError(f"{word!r} names no setting; settings are given as name=value, see --cfg job")
    os.environ.setdefault(SHOW_TRACEBACKS, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to here instead of printing for itself
    configure_logging()
    register_params()
    Plugins.instance().register(_CurrentFolder)
    typed = sys.argv

    composed = False

    def task(cfg: DictConfig) -> None:
        nonlocal composed
        composed = True
        sys.argv = typed  # Lightning starts the other processes of a run with the same words
        with one_sentence(name), _no_empty_folder():  # before Hydra sees the error
            check_paths(name, cfg)
            check_values(name, cfg)
            words = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
            check_used(name, cfg, cast(list[str], words))
            run = import_module(f"cutler_pl.commands.{name}").run
            signals.begin_work()
            run(cfg)

    sys.argv = [typed[0], *arguments]  # what Hydra reads
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(task)()
    except (TypeError, ValueError) as error:
        if composed or (sentence := wrong_group(arguments)) is None:
            raise
        raise ConfigError(sentence) from error
    except OSError as error:
        if composed or isinstance(error, HydraException):
            raise
        way_out = "give another folder, hydra.run.dir=<folder> (hydra.sweep.dir for --multirun)"
        raise OutputWriteError(f"{error.filename}: Hydra cannot write there ({error.strerror}); {way_out}") from error
    finally:
        sys.argv = typed
