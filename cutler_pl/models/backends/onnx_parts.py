"""A folder with one ONNX file per network of a detector, and what they are of in `detector.json`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.models.backends.parts import Part, network, parts_of, weights_digest
from cutler_pl.models.detector import Detector
from cutler_pl.models.export import export_program, require_export_packages
from cutler_pl.runtime.files import atomic_write, write_json

DESCRIPTION = "detector.json"
_WRITTEN = re.compile(rf"{re.escape(DESCRIPTION)}|(backbone|rpn_head|box_head_\d+|mask_head)\.onnx|\..+\.(tmp|lock)")


@torch.no_grad()
def export_parts(detector: Detector, folder: Path, *, notes: Mapping[str, Any] | None = None) -> None:
    """Write the networks of a detector, each with dynamic sizes; the description comes last.

    Args:
        detector: In eval mode, on the CPU, with its networks in PyTorch.
        folder: Created where it is missing.
        notes: What the description says beside the files and the digest of the weights.

    Raises:
        OptionalDependencyError: A package of the extra `export` is missing.
    """
    require_export_packages()
    (folder / DESCRIPTION).unlink(missing_ok=True)
    files = {}
    for part in parts_of(detector):
        program = export_program(
            network(detector, part), part.example, part.dynamic, input_name=part.given, output_names=part.outputs
        )
        program.model.metadata_props.update({part.given: part.note})
        with atomic_write(folder / f"{part.name}.onnx") as temporary:
            program.save(str(temporary), external_data=False)
        files[f"{part.name}.onnx"] = {
            "input": part.given,
            "holds": part.note,
            "shape": _shape(part),
            "outputs": list(part.outputs),
        }
    write_json(folder / DESCRIPTION, {"weights": weights_digest(detector), "files": files, **(notes or {})}, indent=2)


def other_files(folder: Path) -> list[str]:
    """What is in a folder beside the files of an export, whole or interrupted; nothing where there is no folder."""
    return sorted(path.name for path in folder.glob("*") if not _WRITTEN.fullmatch(path.name))


def check_parts(detector: Detector, folder: Path) -> None:
    """Make sure that a folder holds the networks of a detector.

    Raises:
        CheckpointError: A file is missing, or they are of other weights.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        weights = described["weights"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{folder}: holds no exported networks ({DESCRIPTION} is missing or damaged); write them by cutler export "
            "checkpoint=<file> output=<folder>"
        ) from error
    if weights != weights_digest(detector):
        raise CheckpointError(
            f"{folder}: was exported from other weights than those of the checkpoint; export this checkpoint, or leave "
            "the folder out"
        )
    missing = [part.name for part in parts_of(detector) if not (folder / f"{part.name}.onnx").is_file()]
    if missing:
        raise CheckpointError(f"{folder}: {', '.join(missing)} is missing; export the checkpoint again")


def _shape(part: Part) -> list[int | str]:
    return [part.dynamic.get(axis, size) for axis, size in enumerate(part.example.shape)]
