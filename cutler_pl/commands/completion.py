"""Completion scripts for shells: commands by this program, settings by Hydra."""

from collections.abc import Sequence

from cutler_pl.commands.registry import COMMANDS
from cutler_pl.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_cutler_completion() {
  local current="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}" choices
  if [ "$COMP_CWORD" -le 1 ]; then
    choices="@commands@"
  elif [ "$command" = completion ]; then
    choices="@shells@"
  else
    choices=$(COMP_LINE="cutler ${COMP_LINE#*"$command"}" cutler "$command" -sc query=bash 2>/dev/null)
  fi
  COMPREPLY=($(compgen -o nospace -o default -W "$choices" -- "$current"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _cutler_completion cutler
"""
_FISH = """\
function __cutler_completion
    set -l words (commandline -cpo)
    if test (count $words) -le 1
        printf '%s\\t%s\\n' @described@
    else if test "$words[2]" = completion
        printf '%s\\n' @shells@
    else
        set -lx COMP_LINE "cutler "(string replace -r '^\\s*\\S+\\s+\\S+' '' -- (commandline -cp))
        cutler $words[2] -sc query=fish 2>/dev/null
    end
end
complete -c cutler -x -a '(__cutler_completion)'
"""


def main(arguments: Sequence[str]) -> None:
    """Print the script of a shell.

    Raises:
        ConfigError: It is none of `SHELLS`.
    """
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        found = " ".join(arguments) or "nothing"
        raise ConfigError(
            f"cutler completion takes the name of a shell, {', '.join(SHELLS)}, found {found}; for bash: "
            'eval "$(cutler completion bash)"'
        )
    print(script(arguments[0]), end="")


def script(shell: str) -> str:
    """The completion script of a shell."""
    described = " ".join(f"{name} '{command.summary}'" for name, command in COMMANDS.items())
    text = _FISH if shell == "fish" else _BASH
    if shell == "zsh":
        text = "autoload -U +X bashcompinit && bashcompinit\n" + text
    words = {"commands": " ".join(COMMANDS), "shells": " ".join(SHELLS), "described": described}
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text
