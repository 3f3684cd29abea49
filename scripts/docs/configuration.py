"""The configuration reference: every command, group, option, key, default and comment, read from `conf/`."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from classes import describe
from hydra.core.config_store import ConfigStore
from option_file import Key, OptionFile, read_option_file

from cutler_pl.commands.config_store import GROUP, register_params
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.runtime.config_tree import config_dir

_ADDRESS = "https://github.com/OWNER/cutler_pl/blob/main/conf/"
_PAGE = re.compile(r"\bdocs/([\w&#;-]+)\.md\b")
_LIST_LINE = re.compile(r"(\w+): +(\S.*)")


def commands() -> str:
    """Each command: its use, the groups it composes, its settings."""
    return "\n\n".join("\n\n".join(_command(name)) for name in COMMANDS)


def _command(name: str) -> Iterator[str]:
    summary = COMMANDS[name].summary
    yield f"## cutler {name} {{ #{name} }}"
    yield f"{summary[0].upper()}{summary[1:]}."
    path = config_dir() / f"{name}.yaml"
    if not path.is_file():
        yield "No settings."
        return
    yield from _described(read_option_file(path), "", path)


def groups() -> str:
    """Each group of options, and each option in it."""
    register_params()
    parts: list[str] = []
    folders = sorted({path.parent for path in config_dir().rglob("*.yaml")} - {config_dir()})
    for folder in folders:
        group = folder.relative_to(config_dir()).as_posix()
        if group.split("/")[0] == "local":
            continue
        parts.append(f"## {group}= {{ #{_anchor(group)} }}")
        for path in sorted(folder.glob("*.yaml")):
            parts.append(f"### {group}={path.stem} {{ #{_anchor(group, path.stem)} }}")
            parts += _described(read_option_file(path), group, path)
        if group == "experiment":
            parts += _from_python()
    return "\n\n".join(parts)


def _from_python() -> Iterator[str]:
    """Experiments that are made from the table of percentages."""
    nodes = {
        file.removesuffix(".yaml"): stored.node for file, stored in ConfigStore.instance().repo["experiment"].items()
    }
    rows = [
        [_code(f"experiment={name}"), _code(f"experiment={node.defaults[0]} label_percent={node.label_percent}")]
        for name, node in sorted(nodes.items(), key=lambda item: (item[1].defaults[0], item[1].label_percent))
    ]
    yield f"### experiment=semi_… and moco_… {{ #{_anchor('experiment', 'percentages')} }}"
    yield "One experiment for each percentage of labels:"
    yield _table(["option", "the same as"], rows)


def parameters() -> str:
    """Each parameter class of the group `params`, with its fields."""
    register_params()
    parts: list[str] = []
    for file, stored in sorted(ConfigStore.instance().repo[GROUP].items()):
        name, node = file.removesuffix(".yaml"), stored.node
        described = describe(name, node)
        parts += [
            f"## {name} {{ #{_anchor(GROUP, name)} }}",
            f"`{described.kind.__module__}.{described.kind.__qualname__}`. {described.summary}",
        ]
        rows = [
            [_code(key), _code(_shown(value)), _prose(described.comments.get(key, ""))]
            for key, value in node.items()
            if key not in ("_target_", "_partial_", "name")
        ]
        parts.append(_table(["key", "default", ""], rows))
    return "\n\n".join(parts)


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _described(file: OptionFile, group: str, path: Path) -> Iterator[str]:
    yield from _text(file.text)
    if file.defaults:
        yield (
            "Composes "
            + ", ".join(_reference(entry, group) for entry in file.defaults if not entry.startswith("_self_"))
            + "."
        )
    if file.keys:
        prefix = _prefix(file, group, path)
        yield _table(["key", "default", ""], [_row(key, prefix) for key in file.keys])
    yield f"[conf/{path.relative_to(config_dir()).as_posix()}]({_ADDRESS}{path.relative_to(config_dir()).as_posix()})"


def _prefix(file: OptionFile, group: str, path: Path) -> str:
    package = group.replace("/", ".") if file.package is None else file.package
    package = {"_global_": "", "experiment": "", "debug": ""}.get(package, package)
    if group.endswith("/base"):  # composed into the group above
        package = package.removesuffix(".base")
    return f"{package}." if package else ""


def _text(lines: list[str]) -> Iterator[str]:
    """The comment at the head: sentences, commands as code, `What: …` as a list."""
    prose: list[str] = []
    code: list[str] = []
    for line in [*lines, ""]:
        is_code, listed = line.startswith("  ") and bool(line.strip()), _LIST_LINE.fullmatch(line)
        if prose and (is_code or listed or not line):
            yield _prose(" ".join(prose))
            prose = []
        if code and not is_code:
            yield "```\n" + "\n".join(code) + "\n```"
            code = []
        if is_code:
            code.append(line.strip())
        elif listed:
            yield f"**{listed[1]}**: {_prose(listed[2])}"
        elif line:
            prose.append(line.strip())


def _reference(entry: str, group: str) -> str:
    """An entry of a defaults list, with a link to the option that it names."""
    entry, _, comment = entry.partition("  # ")
    name, _, value = entry.partition(": ")
    words = f"`{entry}`" + (f" ({_prose(comment)})" if comment else "")
    folder = re.sub(r"^(optional |override )+", "", name).split("@")[0] if value else group
    option = (value or name).split("@")[0].strip("/")
    if not value and "/" in name.split("@")[0]:
        folder, option = name.split("@")[0].lstrip("/").rsplit("/", 1)
    if not (value or group or folder):  # another command's settings
        return f"[{words}](#{option})"
    for candidate in (folder.lstrip("/"), f"{group}/{folder}".strip("/")):
        if candidate == "local":
            break
        if candidate == GROUP:
            return f"[{words}](parameters.md#{_anchor(GROUP, option)})"
        if (config_dir() / candidate / f"{option}.yaml").is_file():
            return f"[{words}](options.md#{_anchor(candidate, option)})"
        if candidate and value and (config_dir() / candidate).is_dir():
            return f"[{words}](options.md#{_anchor(candidate)})"
    return words


def _row(key: Key, prefix: str) -> list[str]:
    if not key.name:
        return ["", "", f"<em>{_prose(key.comment)}</em>"]
    return [_code(prefix + key.name), _code(key.value) if key.value else "", _prose(key.comment)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{title}</th>" for title in head)
    lines = ("".join(f"<td>{cell}</td>" for cell in row[1:]) for row in rows)
    body = "\n".join(f'<tr><td class="whole">{row[0]}</td>{line}</tr>' for row, line in zip(rows, lines, strict=True))
    return f"<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _code(text: str) -> str:
    return f"<code>{html.escape(text, quote=False)}</code>"


def _prose(text: str) -> str:
    """Text with its code in backticks, as HTML, so that nothing of it is read as Markdown."""
    parts = text.split("`")
    shown = [_code(part) if i % 2 else html.escape(part, quote=False) for i, part in enumerate(parts)]
    escaped = re.sub(r"([*_\[\]])", lambda mark: f"&#{ord(mark[1])};", "".join(shown))
    return _PAGE.sub(lambda page: f'<a href="../../{html.unescape(page[1])}/">{page[0]}</a>', escaped)


def _anchor(*parts: str) -> str:
    return "-".join(parts).replace("/", "-")
