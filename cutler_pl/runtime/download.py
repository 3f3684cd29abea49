"""Files from the internet: resumed where a transfer broke off, of the size announced, with a remembered SHA-256.

Where no checksum is published, the first download's is the one that later ones must have. It stands beside the file
in the form of `sha256sum`, so that `sha256sum -c <file>.sha256` checks it too.
"""

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from cutler_pl.errors import ConfigError, CutlerError, DownloadError
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import file_digest, wrap_os_errors, write_json, write_text
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

_PIECE = 1 << 20
_TIMEOUT_SECONDS = 30.0
_OWN_MACHINE = ("localhost", "127.0.0.1", "::1")

log = get_logger(__name__)


class _BrokenOffError(OSError):
    """The connection ended before the file did."""


_CONNECTION_FAULTS = (urllib.error.URLError, http.client.HTTPException, _BrokenOffError, ConnectionError, TimeoutError)


def fetch_file(
    address: str,
    path: Path,
    *,
    check: Callable[[Path], None] | None = None,
    attempts: int = 4,
    pause_seconds: float = 2.0,
) -> bool:
    """Make sure that a file is there and is the one that was fetched first.

    Args:
        address: An https address, or an http address of this machine.
        path: Where it is kept; what is not complete yet is kept in `<path>.part`.
        check: Called with the complete file before it takes its place; raises a `CutlerError` to refuse it.
        attempts: Number of connections; each goes on where the last one broke off.

    Returns:
        Whether anything was fetched.

    Raises:
        ConfigError: The address is not safe against changes on the way.
        DownloadError: The file cannot be had, or it, or what came, has another SHA-256 than at first.
        OutputWriteError: There is no space or no permission.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _OWN_MACHINE):
        raise ConfigError(f"{address}: not fetched, since only https addresses are safe against changes on the way")
    if path.is_file():
        if check is not None and not _sums(path).is_file():  # put there by hand
            check(path)
        _compare(path, path, address)
        return False
    name = f".{path.name}.lock"
    lock = file_lock(path.parent, purpose=f"download of {path.name}", name=name, timeout=math.inf)
    with wrap_os_errors(path), lock:
        if path.is_file():  # by the process that held the lock
            return False
        part = path.with_name(f"{path.name}.part")
        log.info("fetching %s into %s", address, path)
        _transfer(address, part, attempts, pause_seconds)
        _compare(part, path, address)
        if check is not None:
            try:
                check(part)
            except CutlerError:
                part.unlink()
                raise
        _record(part, path)
        part.replace(path)
        _notes(part).unlink(missing_ok=True)
    return True


def _record(content: Path, path: Path) -> None:
    if not _sums(path).is_file():
        write_text(_sums(path), f"{file_digest(content)}  {path.name}\n")


def _compare(content: Path, path: Path, address: str) -> None:
    """Compare with the SHA-256 that was recorded first, or record it for a file that was put there by hand."""
    if not _sums(path).is_file():
        if content == path:
            _record(path, path)
        return
    recorded = _sums(path).read_text(encoding="utf-8").split()[:1]
    found = file_digest(content)
    if recorded != [found]:
        if content != path:
            content.unlink()
        changed = "has changed since it was fetched" if content == path else f"is not what {address} had at first"
        raise DownloadError(
            f"{path}: {changed}: SHA-256 {found}, recorded {' '.join(recorded) or 'nothing'}; delete "
            f"{'it' if content == path else _sums(path)} and run the same command again to fetch "
            f"{'it anew' if content == path else 'and accept the new one'}"
        )


def _transfer(address: str, part: Path, attempts: int, pause_seconds: float) -> None:
    for attempt in range(1, attempts + 1):
        try:
            _go_on(address, part)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise _unavailable(address, part, f"the server answers {error.code} {error.reason}") from error
            reason: Exception = error
        except _CONNECTION_FAULTS as error:
            reason = error
        else:
            return
        if attempt == attempts:
            raise _unavailable(address, part, str(reason)) from reason
        log.warning("%s: %s; attempt %d of %d follows", address, reason, attempt + 1, attempts)
        time.sleep(pause_seconds)


def _go_on(address: str, part: Path) -> None:
    """Fetch what is missing of `part`; all of it where the server has another file by now or cannot resume."""
    had = part.stat().st_size if part.is_file() else 0
    notes = json.loads(_notes(part).read_text(encoding="utf-8")) if had and _notes(part).is_file() else {}
    size = notes.get("size")
    if had and had == size and notes.get("address") == address:
        return
    if notes.get("address") != address or not notes.get("version") or (size is not None and had > size):
        had = 0
    headers = {"Range": f"bytes={had}-", "If-Range": notes["version"]} if had else {}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT and _start(answer) == had
        length = answer.headers.get("Content-Length")
        size = None if length is None else int(length) + (had if resumed else 0)
        if not resumed:
            part.unlink(missing_ok=True)  # before the notes, which would say that its bytes are of this version
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        write_json(_notes(part), {"address": address, "version": version, "size": size})
        with part.open("ab" if resumed else "wb") as file, _progress(part, size, had if resumed else 0) as progress:
            while piece := _read(answer):
                file.write(piece)
                progress.update(len(piece))
    found = part.stat().st_size
    if size is not None and found != size:
        raise _BrokenOffError(f"the connection ended after {found:,} of {size:,} bytes")


def _progress(part: Path, size: int | None, done: int) -> "tqdm[Any]":
    """A progress bar in bytes, of rank 0, shown on a terminal only."""
    hidden = None if global_rank() == 0 else True
    return tqdm(total=size, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=hidden)


def _read(answer: Any) -> bytes:
    try:
        piece: bytes = answer.read(_PIECE)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"the connection broke off: {error}") from error
    return piece


def _start(answer: Any) -> int | None:
    """First byte of a partial answer, as of `Content-Range: bytes 100-199/200`."""
    text = str(answer.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else None


def _unavailable(address: str, part: Path, reason: str) -> DownloadError:
    path = part.with_name(part.name.removesuffix(".part"))
    return DownloadError(
        f"{address}: cannot be fetched ({reason}); run the same command again to go on, or fetch it where there is a "
        f"connection and put it at {path}"
    )


def _sums(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
