"""The records of an offline W&B run, read from its `.wandb` file: a LevelDB log of protocol buffers."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _FILE_HEADER, _HEADER = 32_768, 7, struct.Struct("<IHB")
_FULL, _FIRST, _LAST = 1, 2, 4


def records(folder: Path) -> Iterator[Any]:
    """All records of the one run below `folder/wandb`."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, at, parts = file.read_bytes(), _FILE_HEADER, b""
    while at + _HEADER.size <= len(content):
        if _BLOCK - at % _BLOCK < _HEADER.size:  # the rest of a block is padding
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = _HEADER.unpack_from(content, at)
        part = content[at + _HEADER.size : at + _HEADER.size + length]
        parts = part if kind in (_FULL, _FIRST) else parts + part
        if kind in (_FULL, _LAST):
            yield Record.FromString(parts)
        at += _HEADER.size + length


def config_of(folder: Path) -> dict[str, Any]:
    """Settings of the run."""
    updates = [
        item for record in records(folder) for change in (record.config, record.run.config) for item in change.update
    ]
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in updates}


def history_of(folder: Path) -> list[dict[str, Any]]:
    """What was logged, in its order."""
    rows = [record.history.item for record in records(folder) if record.HasField("history")]
    return [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in rows]


def artifacts_of(folder: Path) -> list[Any]:
    """Artifacts, such as checkpoints."""
    found = []
    for record in records(folder):
        if record.HasField("artifact"):
            found.append(record.artifact)
        if record.HasField("request") and record.request.HasField("log_artifact"):
            found.append(record.request.log_artifact.artifact)
    return found
