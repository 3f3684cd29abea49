"""`clusters.yaml`: a name per cluster, written by people; None leaves a cluster out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cutler_pl.coco.file_names import is_text
from cutler_pl.errors import ConfigError, DatasetNotFoundError
from cutler_pl.runtime.files import write_text

DROP = "drop"
_KEY = "clusters"
_HEADER = """\
# The clusters that index.html shows. Write the name of its class behind each number.
#   The same name behind several numbers makes one class of them.
#   null or drop leaves a cluster out: its objects will not be in annotations.json.
#   Keep the quotes; within them \\" is a quote and \\n a line break.
# Then run the same command again with names=<this file>.
"""


class _TwiceError(Exception):
    """A key that occurs twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise _TwiceError(f"names {key!r} twice, again in line {node.value[i][0].start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def write_names(path: str | Path, sizes: Sequence[int], names: Mapping[int, str | None] | None = None) -> None:
    """Write a file to edit.

    Args:
        path: The YAML file.
        sizes: Number of objects of cluster 1, 2, …
        names: Name by number; `cluster 1`, `cluster 2`, … where not given.
    """
    names = {number: f"cluster {number}" for number in range(1, len(sizes) + 1)} if names is None else names
    lines = [
        f"  {number}: {_quoted(names[number])}  # {size} object{'' if size == 1 else 's'}\n"
        for number, size in enumerate(sizes, 1)
    ]
    write_text(path, f"{_HEADER}{_KEY}:\n{''.join(lines)}")


def read_names(path: str | Path, count: int) -> dict[int, str | None]:
    """Name of each cluster; None for one to leave out.

    Args:
        path: The YAML file.
        count: Number of clusters.

    Raises:
        DatasetNotFoundError: There is no such file.
        ConfigError: It is not such a file, a cluster is unknown, missing or named twice, or a name is no text.
    """
    content = _read(Path(path))
    given = content.get(_KEY) if isinstance(content, dict) else None
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: expected `{_KEY}:` with a name behind each number; take the file of this command")
    return check_names(given, count, source_name=str(path))


def check_names(given: Mapping[Any, Any], count: int, *, source_name: str) -> dict[int, str | None]:
    """Names of clusters 1 to `count`; raises as `read_names`."""
    clusters = "cluster 1 alone" if count == 1 else f"clusters 1 to {count}"
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= count:
            raise ConfigError(
                f"{source_name}: names the cluster {number!r}, and there are {clusters}; remove the line, or take the "
                "file of this run"
            )
    if missing := [number for number in range(1, count + 1) if number not in given]:
        raise ConfigError(
            f"{source_name}: has no name for cluster {missing[0]}; add a line for it, with null to leave it out"
        )
    names = {number: _name(given[number], number, source_name) for number in range(1, count + 1)}
    if not any(names.values()):
        raise ConfigError(f"{source_name}: leaves out all clusters, so that nothing is left; name one")
    return names


def _name(value: Any, number: int, source_name: str) -> str | None:
    if value is None or value == DROP:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value or not is_text(value):
        raise ConfigError(
            f"{source_name}: cluster {number} has the name {value!r}, which is no text; quote it, or write null to "
            "leave the cluster out"
        )
    return value


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"{path}: no such file; give the clusters.yaml of the first run") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error}); take the file of this command") from error
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except _TwiceError as error:
        raise ConfigError(f"{path}: {error}; keep one of the lines") from error
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML ({reason}); repair it, or take the file of this command") from error


def _quoted(name: str | None) -> str:
    """A name as YAML on one line: JSON's texts are YAML's."""
    return "null" if name is None else json.dumps(name, ensure_ascii=False)
