"""The package imports where the modules that only Unix has are missing."""

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, sys
import gradio  # asks the operating system's name what it may import
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
import cutler_pl
for module in pkgutil.walk_packages(cutler_pl.__path__, "cutler_pl."):
    importlib.import_module(module.name)
assert sys.modules["cutler_pl.runtime.locks"]
"""


def test_import_without_unix_modules() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
