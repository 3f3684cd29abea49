"""Runs a notebook in a kernel of this environment: `execute.py <notebook> <notebook with outputs> <folder>`."""

import sys
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(Path(folder, "kernel")))
manager.kernel_spec.argv[0] = sys.executable
try:
    NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": folder}}).execute()
finally:
    nbformat.write(notebook, target)
