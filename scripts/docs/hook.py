"""Hook of the documentation's build: a line `<!-- generated: <name> -->` of a page becomes what the code says.

`mkdocs.yml` names this file. An unknown name, or a released file without a description, ends the build.
"""

import re
from collections.abc import Callable
from typing import Any

from configuration import commands, groups, parameters
from zoo import backbones, datasets_tree, detectors, semi_supervised_table, zero_shot_table

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "options": groups,
    "parameters": parameters,
    "detectors": detectors,
    "backbones": backbones,
    "zero-shot": zero_shot_table,
    "semi-supervised": semi_supervised_table,
    "datasets": datasets_tree,
}
_MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)
