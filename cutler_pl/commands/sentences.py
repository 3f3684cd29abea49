"""User errors as one sentence: those of this package as they are, those of Hydra with the way out."""

import difflib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from cutler_pl.commands.settings import RENAMED, renamed_option
from cutler_pl.errors import CutlerError
from cutler_pl.runtime import signals
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.logging import printable

SHOW_TRACEBACKS = "CUTLER_PL_TRACEBACKS"
_SUBMITIT = "hydra/launcher/submitit"
_MERGING = "Error merging override "


@contextmanager
def one_sentence(command: str) -> Iterator[None]:
    """Turn a user error into one line on standard error and exit code 1."""
    try:
        yield
    except (CutlerError, HydraException, OmegaConfBaseException, OSError, RuntimeError) as error:
        if signals.requested() and not isinstance(error, CutlerError):
            raise  # a consequence of the signal, which `signals.handled` answers
        sentence = explain(error, command)
        if sentence is None or os.environ.get(SHOW_TRACEBACKS, "0") not in ("", "0"):
            raise
        print(f"error: {printable(sentence)}", file=sys.stderr, flush=True)
        sys.exit(1)


def explain(error: BaseException, command: str) -> str | None:
    """One line on what the user can do about an error; None for a bug."""
    chain = _causes(error)
    if own := next((cause for cause in chain if isinstance(cause, CutlerError)), None):
        return _one_line(own)
    if full := next((cause for cause in chain if _is_disk_full(cause)), None):
        where = f"{full.filename}: " if isinstance(full, OSError) and full.filename else ""
        return f"{where}the disk or the quota is full; free space, then run the same command again"
    if any(isinstance(cause, RuntimeError) and "DataLoader worker" in str(cause) for cause in chain):
        return (
            "a loader process was killed, most often for want of memory; lower num_workers or the batch size, or give "
            "the run more memory (in containers also /dev/shm), then run the same command again; a training goes on by "
            "resume=auto"
        )
    if isinstance(error, OSError | RuntimeError) and not isinstance(error, HydraException):
        return None
    for cause in chain:
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or str(cause).partition("\n")[0].rpartition(" ")[2]  # no full_key behind ${...}
            return f"{key} has no value and needs one: add {key}=<value>"
        if isinstance(cause, OverrideParseException):
            return _how_to_quote(cause.override)
        if isinstance(cause, MissingConfigException) and (cause.missing_cfg_file or "").startswith(_SUBMITIT):
            return "hydra/launcher=slurm needs the package hydra-submitit-launcher: pip install 'cutler_pl[slurm]'"
        if isinstance(cause, MissingConfigException) and (new := renamed_option(cause.missing_cfg_file or "")):
            return f"there is no option {cause.missing_cfg_file} any more: use {new}"
        if isinstance(cause, MissingConfigException) and cause.options and cause.missing_cfg_file:
            return _unknown_option(cause.missing_cfg_file, cause.options)
        if isinstance(cause, MissingConfigException):  # one of a list of options, or no command
            path = cause.missing_cfg_file or ""
            return _unknown_option(path, _options(path.rpartition("/")[0]))
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(error, ConfigCompositionException):
            return _unknown_setting(str(cause.full_key), command)
        if isinstance(cause, ConfigCompositionException) and cause.__cause__ and str(cause).startswith(_MERGING):
            return f"{str(cause).removeprefix(_MERGING)}: {str(cause.__cause__).partition(chr(10))[0]}"
    word = next((word for word in sys.argv[1:] if "${" in word), None)
    if word is not None and any(isinstance(cause, InterpolationResolutionError) for cause in chain):
        reason = _one_line(error).partition("; full_key")[0]
        return f"{word} cannot be read: {reason}; write ${{<setting>}}, ${{oc.env:<variable>}}, or \\${{ for the text"
    built = next((cause for cause in chain if isinstance(cause, InstantiationException)), None)
    return _one_line(error) if built is None else _not_built(built, chain[-1])


def _is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written for lack of space; torch's own writer says so in words only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, RuntimeError) and "PytorchStreamWriter failed writing" in str(error)


def _unknown_option(path: str, options: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    if not group:
        return f"--config-name={name}: there is no such config; leave it out"
    close = difflib.get_close_matches(name, options, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"there is no option {group}={name}{hint}; choose one of {', '.join(options)}"


def wrong_group(words: Sequence[str]) -> str | None:
    """One line on the first word that gives a group something else than names of options; None if there is none."""
    for override in OverridesParser.create().parse_overrides(list(words)):
        group, value = override.key_or_group, override.value()
        given = value if isinstance(value, list) and not override.is_delete() else [value]
        sound = all(isinstance(item, str) for item in given) or (override.is_delete() and value is None)
        if _is_group(group) and not override.is_sweep_override() and not sound:
            options = ", ".join(_options(group))
            choice = f", one of {options}" if options else ""
            return f"{override.input_line}: expected the name of an option of this group{choice}"
    return None


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def _how_to_quote(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override} is no setting; settings are given as name=value, see --cfg job"
    if key[0] in "'\"" and value[-1:] == key[0]:
        alone = f"{key[1:]}='{value[:-1]}'"
        return f'{override} cannot be read: the inner quotes belong around the value alone, "{alone}"'
    quoted = value.replace("'", "\\'")
    special = "a value with spaces, commas, brackets, = or other special characters"
    return f"{override} cannot be read: {special} needs two pairs of quotes, \"{key}='{quoted}'\""


def _unknown_setting(key: str, command: str) -> str:
    if key in RENAMED:
        return f"the setting {key!r} is now called {RENAMED[key]!r}"
    return f"there is no setting {key!r}{_suggestion(key, command)}; the option --cfg job prints all settings"


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _not_built(error: InstantiationException, cause: BaseException) -> str | None:
    """What the constructor behind a group of settings says of them; None for a bug in it."""
    if not isinstance(cause, TypeError | ValueError | ImportError | HydraException):
        return None
    _, _, group = str(error).partition("full_key: ")
    said = _one_line(cause) if cause is not error else _one_line(error).partition("; full_key")[0]
    where = group or "_global_"
    return f"{where} cannot be built: {said}; --cfg job --package {where} prints its settings"


def _one_line(error: BaseException) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _suggestion(key: str, command: str) -> str:
    """Closest settings of the same command, composed with its groups only."""
    groups = [a for a in sys.argv[1:] if "=" in a and _is_group(a.split("=")[0])]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            known = _flat_keys(compose(command, overrides=groups))
    except (HydraException, OmegaConfBaseException):
        return ""
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _is_group(name: str) -> bool:
    return name.startswith("hydra/") or (config_dir() / name.split("@")[0].lstrip("+~")).is_dir()


def _flat_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in map(str, config):
        keys.append(f"{prefix}{name}")
        if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
            continue
        if isinstance(config[name], DictConfig):
            keys += _flat_keys(config[name], f"{prefix}{name}.")
    return keys
