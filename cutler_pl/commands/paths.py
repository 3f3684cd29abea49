"""The one reader of paths at the edge: which settings of each command are paths, and what is wrong with one."""

import os
import stat
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from cutler_pl.commands.overwrites import check_overwrites
from cutler_pl.errors import ConfigError, CutlerError, DatasetNotFoundError, InputError
from cutler_pl.media.sources import KINDS, MEDIA_SUFFIXES, camera_number, is_pattern


class Kind(Enum):
    """What a path is to be; the value names it in sentences."""

    IMAGES = "an image, a folder of images or a .txt list of them"
    SOURCES = KINDS
    FOLDER = "an existing folder"
    FILE = "an existing file"
    ANY = "an existing file or folder"
    LIST = "a list of existing files or folders"
    WEIGHTS = "a file of weights or the name of released ones"
    OUTPUT_FOLDER = "a folder to write"
    OUTPUT_FILE = "a file to write"


class PathSetting(NamedTuple):
    """A setting that holds a path."""

    name: str
    kind: Kind
    optional: bool = True  # null is accepted, and so is a config without this setting
    file_endings: frozenset[str] = frozenset()  # a folder to write, or a file of one of these endings


_CHECKPOINT = PathSetting("checkpoint", Kind.WEIGHTS, optional=False)
_EXPORTED = PathSetting("exported", Kind.FOLDER)
_INPUT = PathSetting("input", Kind.IMAGES, optional=False)
_OUTPUT = PathSetting("output", Kind.OUTPUT_FOLDER, optional=False)
_OUTPUT_FILE = PathSetting("output", Kind.OUTPUT_FILE, optional=False)
_DATASETS = PathSetting("paths.datasets", Kind.OUTPUT_FOLDER, optional=False)
_RECIPE = (PathSetting("recipe.output", Kind.OUTPUT_FOLDER, optional=False), PathSetting("recipe.images", Kind.FOLDER))

_FEATURES = (
    PathSetting("maskcut.features.weights", Kind.WEIGHTS),
    PathSetting("maskcut.features.cache", Kind.OUTPUT_FOLDER),
)

PATH_SETTINGS: dict[str, tuple[PathSetting, ...]] = {
    "quickstart": _RECIPE,
    "own": (
        PathSetting("images", Kind.FOLDER, optional=False),
        _OUTPUT,
        PathSetting("weights", Kind.WEIGHTS),
        PathSetting("init", Kind.WEIGHTS),
        *_RECIPE,
    ),
    "maskcut": (_INPUT, _OUTPUT, *_FEATURES),
    "merge_shards": (_OUTPUT, PathSetting("sources", Kind.LIST)),
    "quality": (
        PathSetting("annotations", Kind.FILE, optional=False),
        PathSetting("images", Kind.FOLDER, optional=False),
        PathSetting("agreement_weights", Kind.WEIGHTS),
        _OUTPUT,
    ),
    "calibrate": (
        PathSetting("images", Kind.FOLDER, optional=False),
        PathSetting("annotations", Kind.FILE),
        PathSetting("maskcut.features.weights", Kind.WEIGHTS),
        _OUTPUT,
    ),
    "train": (
        PathSetting("data.images", Kind.FOLDER, optional=False),
        PathSetting("data.annotations", Kind.FILE, optional=False),
        PathSetting("data.validation.images", Kind.FOLDER),
        PathSetting("data.validation.annotations", Kind.FILE),
        PathSetting("data.index_dir", Kind.OUTPUT_FOLDER),
        PathSetting("model.init", Kind.WEIGHTS),
        PathSetting("resume", Kind.WEIGHTS),
        PathSetting("paths.output_dir", Kind.OUTPUT_FOLDER, optional=False),
    ),
    "self_train": (
        PathSetting("checkpoint", Kind.WEIGHTS),
        PathSetting("predictions", Kind.FILE),
        PathSetting("images", Kind.FOLDER),
        PathSetting("annotations", Kind.FILE, optional=False),
        _OUTPUT,
        _EXPORTED,
    ),
    "predict": (
        _CHECKPOINT,
        PathSetting("input", Kind.SOURCES, optional=False),
        PathSetting("output", Kind.OUTPUT_FOLDER, optional=False, file_endings=frozenset(MEDIA_SUFFIXES)),
        _EXPORTED,
    ),
    "evaluate": (
        PathSetting("checkpoint", Kind.WEIGHTS),
        PathSetting("predictions", Kind.ANY),
        PathSetting("annotations", Kind.FILE),
        PathSetting("images", Kind.FOLDER),
        PathSetting("output", Kind.OUTPUT_FOLDER),
        _EXPORTED,
        _DATASETS,
    ),
    "demo": (_CHECKPOINT,),
    "serve": (_CHECKPOINT, PathSetting("maskcut.features.weights", Kind.WEIGHTS)),
    "export": (
        _CHECKPOINT,
        PathSetting("output", Kind.OUTPUT_FOLDER, optional=False, file_endings=frozenset({".onnx"})),
        PathSetting("image", Kind.FILE),
    ),
    "recipe": (*_RECIPE, PathSetting("checkpoint", Kind.WEIGHTS)),
    "prepare_dataset": (
        PathSetting("root", Kind.ANY),
        PathSetting("output", Kind.OUTPUT_FILE),
        PathSetting("annotations", Kind.ANY),
        PathSetting("images", Kind.FOLDER),
        PathSetting("ids", Kind.FILE),
        PathSetting("synsets", Kind.FILE),
        _DATASETS,
    ),
    "make_coco_splits": (
        PathSetting("annotations", Kind.FILE),
        PathSetting("lists", Kind.FILE),
        PathSetting("released", Kind.ANY),
        PathSetting("output", Kind.OUTPUT_FOLDER),
        _DATASETS,
    ),
    "discover": (
        PathSetting("annotations", Kind.FILE, optional=False),
        PathSetting("images", Kind.FOLDER, optional=False),
        PathSetting("names", Kind.FILE),
        *_FEATURES,
        _OUTPUT,
    ),
    "export_labels": (
        PathSetting("annotations", Kind.FILE, optional=False),
        PathSetting("images", Kind.FOLDER, optional=False),
        PathSetting("checkpoint", Kind.WEIGHTS),
        _OUTPUT,
    ),
    "weights": (
        PathSetting("download", Kind.WEIGHTS),
        PathSetting("upload", Kind.WEIGHTS),
        PathSetting("run", Kind.FOLDER),
        PathSetting("evaluation", Kind.FOLDER),
        PathSetting("output", Kind.OUTPUT_FOLDER),
    ),
    "convert_checkpoint": (PathSetting("source", Kind.WEIGHTS, optional=False), _OUTPUT_FILE),
    "doctor": (),
    "completion": (),
}

_ONE_FILE = ("resume", "download", "weights", "agreement_weights", "maskcut.features.weights")  # not of a detector
_OUTPUTS = ("output", "paths.output_dir")
_ABSENT = "???"
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4000
_SYSTEM = ("/dev", "/proc", "/sys")


def check_paths(command: str, cfg: DictConfig) -> None:
    """Check all paths of a command before it starts; nothing is created.

    Raises:
        ConfigError: A value is no path, or a path of the wrong kind; or two paths do not go together.
        DatasetNotFoundError: There is no such file or folder.
    """
    values = {setting: _value(cfg, setting) for setting in PATH_SETTINGS[command]}
    if any(value == _ABSENT and not setting.optional for setting, value in values.items()):
        return  # the command names all that is needed
    for setting, value in values.items():
        if value == _ABSENT or (value is None and setting.optional):
            continue
        if error := _error(setting, value):
            raise error
    given = [setting for setting, value in values.items() if value is not None and value != _ABSENT]
    outputs = [setting.name for setting in given if setting.name in _OUTPUTS]
    if outputs:
        inputs = [setting.name for setting in given if setting.kind not in (Kind.OUTPUT_FOLDER, Kind.OUTPUT_FILE)]
        check_overwrites(command, cfg, inputs=inputs, output=outputs[0])


def _value(cfg: DictConfig, setting: PathSetting) -> Any:
    try:
        return OmegaConf.select(cfg, setting.name, default=_ABSENT)
    except InterpolationResolutionError:  # it follows from another setting, which the command checks
        return _ABSENT


def _error(setting: PathSetting, value: Any) -> CutlerError | None:
    given, expected = f"{setting.name}={'null' if value is None else value}", setting.kind.value
    if setting.kind is Kind.LIST:
        if not isinstance(value, ListConfig):
            return ConfigError(f"{given}: expected a list, such as '{setting.name}=[{value}]'")
        each = setting._replace(kind=Kind.ANY)
        return next((error for item in value if (error := _error(each, item))), None)
    if setting.kind is Kind.SOURCES and isinstance(value, ListConfig):
        if any(isinstance(item, ListConfig) for item in value):
            return ConfigError(f"{given}: a list in a list; give {expected}")
        return next((error for item in value if (error := _error(setting, item))), None)
    if not isinstance(value, str | Path):
        return ConfigError(f"{given}: expected {expected}, found {_described(setting.name, value)}")
    text = str(value)
    if not text.strip():
        also = " or null" if setting.optional else ""
        return ConfigError(f"{setting.name} is empty: expected {expected}{also}; the current folder is .")
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if "://" not in text and (longest > _MAX_NAME_BYTES or len(os.fsencode(text)) > _MAX_PATH_BYTES):
        return ConfigError(
            f"{setting.name}={text[:60]}…: the path is too long for a file system, {longest} bytes in its longest "
            f"name; at most {_MAX_NAME_BYTES} are possible"
        )
    if "\0" in text:
        return ConfigError(f"{setting.name}={text!r}: a path cannot hold the character NUL; remove it")
    if setting.kind in (Kind.OUTPUT_FOLDER, Kind.OUTPUT_FILE):
        return _output_error(setting, Path(text))
    return _input_error(setting, Path(text))


def _described(name: str, value: Any) -> str:
    if value is None:
        return f"nothing; add {name}=<path>"
    if isinstance(value, bool | int | float):
        kind = "true or false" if isinstance(value, bool) else "a number"
        return f"{kind}; if it is the name of a file or folder, quote it twice, \"{name}='{value}'\""
    return f"{'a list' if isinstance(value, ListConfig) else 'a group of settings'}; give one path"


def _input_error(setting: PathSetting, path: Path) -> CutlerError | None:
    given, expected = f"{setting.name}={path}", setting.kind.value
    if setting.kind is Kind.SOURCES:
        try:
            if camera_number(path) is not None or is_pattern(path):
                return None
        except InputError as error:
            return ConfigError(f"{setting.name}={error}")
    try:
        mode = path.stat().st_mode
    except NotADirectoryError:
        return ConfigError(f"{given}: leads through a file as if it were a folder; expected {expected}")
    except FileNotFoundError:
        if setting.kind is Kind.WEIGHTS:
            return None  # a name, or the loader says what names there are
        return DatasetNotFoundError(f"{given}: no such file or folder; give {expected}")
    except OSError as error:
        return ConfigError(f"{given}: cannot be opened ({error.strerror}); give {expected}")
    if stat.S_ISDIR(mode):
        if setting.kind is Kind.WEIGHTS and setting.name not in _ONE_FILE:
            return _error_of_weights(given, path)
        if setting.kind in (Kind.FILE, Kind.WEIGHTS):
            return ConfigError(f"{given}: is a folder; expected {expected}")
    elif not stat.S_ISREG(mode):
        return ConfigError(f"{given}: is neither a file nor a folder (a pipe or a device); expected {expected}")
    elif setting.kind is Kind.FOLDER:
        return ConfigError(f"{given}: is a file; expected {expected}")
    return None


def _error_of_weights(given: str, folder: Path) -> CutlerError | None:
    from cutler_pl.weights.sources import weights_in  # torch, which most commands load later

    try:
        weights_in(folder)
    except CutlerError as error:
        return ConfigError(f"{given}: is a folder without weights; expected {Kind.WEIGHTS.value} ({error})")
    return None


def _output_error(setting: PathSetting, path: Path) -> CutlerError | None:
    given = f"{setting.name}={path}"
    try:
        real = path.resolve()
        if str(real).startswith(tuple(f"{root}/" for root in _SYSTEM)) or str(real) in _SYSTEM:
            return ConfigError(f"{given}: lies on {real.parts[1]}, which belongs to the system; choose another place")
        if path.exists():
            may_be_file = path.is_file() and path.suffix.lower() in setting.file_endings
            if setting.kind is Kind.OUTPUT_FOLDER and not path.is_dir() and not may_be_file:
                return ConfigError(f"{given}: is a file; expected a folder, choose another name")
            if setting.kind is Kind.OUTPUT_FILE and not path.is_file():
                return ConfigError(f"{given}: is a folder or a device; expected the name of a file")
        above = next(folder for folder in real.parents if folder.exists())
    except (OSError, RuntimeError) as error:
        return ConfigError(f"{given}: cannot be written ({error}); choose another place")
    if not above.is_dir():
        return ConfigError(f"{given}: lies below {above}, which is a file; choose another place")
    return None
