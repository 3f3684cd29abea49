"""`cutler <command> [settings]`, and the same commands as scripts of a checkout.

Nothing heavy is imported before a command is chosen. A user error ends with one line on standard error and exit code
1. A bug keeps its traceback; `HYDRA_FULL_ERROR=1` shows the traceback of either.
"""

import difflib
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from cutler_pl.commands.registry import COMMANDS
from cutler_pl.runtime import signals
from cutler_pl.runtime.config_tree import config_dir
from cutler_pl.runtime.limits import check_limits
from cutler_pl.runtime.version import VERSION

_PLAIN = ("doctor", "completion")  # without settings of Hydra
_EVERY_SETTING = "cutler {} --cfg job prints every setting with its value."


def main() -> None:
    """The console command `cutler`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(_help())
    elif name in ("--version", "-V"):
        print(f"cutler_pl {VERSION}")
    elif name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        _fail(f"cutler has no command {name!r}{hint}; cutler --help lists all")
    else:
        run(name, arguments)


def script(file: str) -> None:
    """The command that a script of the checkout is named after; its outputs go into the checkout."""
    root = Path(__file__).resolve().parents[1]
    os.environ.setdefault("PROJECT_ROOT", str(root))
    run(Path(file).stem, sys.argv[1:])


def run(name: str, arguments: list[str]) -> None:
    """Run a command; user errors and signals end the process with one sentence."""
    if {"--help", "-h"} & set(arguments):
        print(_command_help(name))
        return
    with signals.handled():
        from cutler_pl.commands.sentences import one_sentence  # here, since it brings Hydra, and a command brings torch

        with one_sentence(name):
            check_limits()
            if name in _PLAIN:
                import_module(f"cutler_pl.commands.{name}").main(arguments)
            else:
                from cutler_pl.commands.hydra_app import launch

                launch(name, arguments)


def _help() -> str:
    lines = ["cutler <command> [setting=value …]", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(group)
        lines += [f"  {name:<19}{command.summary}" for name, command in COMMANDS.items() if command.group == group]
    lines += ["", "cutler <command> --help explains the settings of a command; cutler --version prints the version."]
    return "\n".join(lines)


def _command_help(name: str) -> str:
    """What a command does and its config file, whose comments explain each setting."""
    lines = [f"cutler {name}: {COMMANDS[name].summary}"]
    if name not in _PLAIN:
        folder = config_dir()
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        shared = re.findall(r"^  - (\S+)@_here_$", text, flags=re.MULTILINE)
        lines += ["", text, *((folder / f"{base}.yaml").read_text(encoding="utf-8") for base in shared)]
        lines += [f"The options of each group are the files in {folder}/<group>/.", _EVERY_SETTING.format(name)]
    return "\n".join(lines)


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(1)
