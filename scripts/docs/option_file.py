"""A file of `conf/` as its reader sees it: what it is for, its defaults, each key with its comment."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

_PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")


class Key(NamedTuple):
    """A setting; `value` is empty for a group of settings, `name` for a remark on those below it."""

    name: str
    value: str
    comment: str


@dataclass(frozen=True)
class OptionFile:
    """What is written in one file.

    Attributes:
        package: What `@package` says; None without it.
        text: Comment lines at the head, those of commands and lists left as they are.
        defaults: Entries of the defaults list, as written.
        keys: In the order of the file.
    """

    package: str | None
    text: list[str]
    defaults: list[str]
    keys: list[Key]


def read_option_file(path: Path) -> OptionFile:
    """Read a file of `conf/`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    package, text = None, []
    for line in lines:
        if not line.startswith("#"):
            break
        if found := _PACKAGE.match(line):
            package = found[1]
        else:
            text.append(line[1:].removeprefix(" "))
    root = yaml.compose("\n".join(lines))
    if not isinstance(root, yaml.MappingNode):
        return OptionFile(package, text, [], [])
    defaults = [
        _value(lines, entry) if isinstance(entry, yaml.ScalarNode) else _default(lines, entry)
        for key, node in root.value
        if key.value == "defaults"
        for entry in node.value
    ]
    settings = [(key, node) for key, node in root.value if key.value != "defaults"]
    return OptionFile(package, text, defaults, list(_keys(lines, settings, "")))


def _default(lines: list[str], entry: yaml.MappingNode) -> str:
    ((key, value),) = entry.value
    comment = _comment(lines, value)
    return f"{key.value}: {_value(lines, value)}" + (f"  # {comment}" if comment else "")


def _keys(lines: list[str], settings: list[tuple[yaml.Node, yaml.Node]], prefix: str) -> Iterator[Key]:
    for key, node in settings:
        name = f"{prefix}{key.value}"
        if remark := _remark(lines, key):
            yield Key("", "", remark)
        if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
            if comment := _comment(lines, key):
                yield Key(name, "", comment)
            yield from _keys(lines, node.value, f"{name}.")
        else:
            yield Key(name, _value(lines, node), _comment(lines, node if _is_inline(key, node) else key))


def _is_inline(key: yaml.Node, node: yaml.Node) -> bool:
    return bool(node.start_mark.line == key.start_mark.line)


def _value(lines: list[str], node: yaml.Node) -> str:
    """As written; a block as one line."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        block = yaml.safe_load(yaml.serialize(node))
        return yaml.dump(block, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    start, end = node.start_mark, node.end_mark
    if start.line == end.line:
        return lines[start.line][start.column : end.column].strip()
    last = lines[end.line][: end.column] if end.line < len(lines) else ""
    parts = [lines[start.line][start.column :], *lines[start.line + 1 : end.line], last]
    return " ".join(re.sub(r"\s#.*", "", part).strip() for part in parts).strip()


def _comment(lines: list[str], node: yaml.Node) -> str:
    """The comment behind a key or value, with its lines below."""
    number = node.end_mark.line
    line = lines[number] if number < len(lines) else ""
    found = _COMMENT.search(line, node.end_mark.column)
    if not found:
        return ""
    column = line.index("#", found.start())
    words = [found[1]]
    for below in lines[number + 1 :]:
        if below.strip().startswith("#") and below.index("#") >= column:
            words.append(below.strip().lstrip("#").strip())
        else:
            break
    return " ".join(words).strip()


def _remark(lines: list[str], key: yaml.Node) -> str:
    """Comment lines of a key's own indent above it."""
    words: list[str] = []
    for above in reversed(lines[: key.start_mark.line]):
        if above.strip().startswith("#") and above.index("#") == key.start_mark.column and "@package" not in above:
            words.insert(0, above.strip().lstrip("#").strip())
        else:
            break
    return " ".join(words) if len(words) < key.start_mark.line else ""
