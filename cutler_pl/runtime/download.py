"""Downloads: resumed after a lost connection, checked against the announced size and a recorded SHA-256.

The checksum of the first download is stored beside the file in the format of `sha256sum`; later downloads must have
the same.
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
from cutler_pl.runtime.limits import DOWNLOAD_BYTES
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30.0
_LOCALHOST = ("localhost", "127.0.0.1", "::1")

log = get_logger(__name__)


class _ConnectionLostError(ConnectionError):
    """The connection ended before the file did."""


_CONNECTION_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def fetch_file(
    address: str,
    path: Path,
    *,
    check: Callable[[Path], None] | None = None,
    attempts: int = 4,
    pause_seconds: float = 2.0,
) -> bool:
    """Fetch a file unless it exists, and check its SHA-256.

    Args:
        address: An https address, or an http address of this machine.
        path: Destination; an incomplete download is `<path>.part`.
        check: Called with the complete file before it is renamed to `path`; raises a `CutlerError` to refuse it.
        attempts: Number of connections; each resumes the transfer.
        pause_seconds: Wait before the second attempt; doubled before each further one.

    Returns:
        Whether anything was fetched.

    Raises:
        ConfigError: The address is neither https nor of this machine.
        DownloadError: The file cannot be fetched, or its SHA-256 is not the recorded one.
        OutputWriteError: There is no space or no permission.
    """
    if not is_safe_address(address):
        raise ConfigError(f"{address}: not fetched, since only https addresses are safe against changes on the way")
    if path.is_file():
        if check is not None and not _checksum_path(path).is_file():  # put there by hand
            check(path)
        _verify_checksum(path, path, address)
        return False
    name = f".{path.name}.lock"
    lock = file_lock(path.parent, purpose=f"download of {path.name}", name=name, timeout=math.inf)
    with wrap_os_errors(path), lock:
        if path.is_file():  # by the process that held the lock
            return False
        part = path.with_name(f"{path.name}.part")
        log.info("fetching %s into %s", address, path)
        _transfer(address, part, attempts, pause_seconds)
        _verify_checksum(part, path, address)
        if check is not None:
            try:
                check(part)
            except CutlerError:
                part.unlink()
                raise
        _record_checksum(part, path)
        part.replace(path)
        _metadata_path(part).unlink(missing_ok=True)
    return True


def is_safe_address(address: str) -> bool:
    """Whether nobody can change what is fetched on its way: https, or http of this machine."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCALHOST)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows https to https only, and http within this machine; each redirection passes here."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not is_safe_address(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            fp.close()
            raise DownloadError(
                f"{req.full_url}: not fetched, since it leads to {newurl}, and only https addresses are safe against "
                "changes on the way; give an address that stays with https"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_SafeRedirects)


def _record_checksum(content: Path, path: Path) -> None:
    if not _checksum_path(path).is_file():
        write_text(_checksum_path(path), f"{file_digest(content)}  {path.name}\n")


def _verify_checksum(content: Path, path: Path, address: str) -> None:
    """Compare with the recorded SHA-256, or record it for a file that was copied by hand."""
    if not _checksum_path(path).is_file():
        if content == path:
            _record_checksum(path, path)
        return
    recorded = _checksum_path(path).read_text(encoding="utf-8", errors="replace").split()[:1]
    found = file_digest(content)
    if recorded != [found]:
        if content != path:
            content.unlink()
        changed = "has changed since it was fetched" if content == path else f"is not what {address} had at first"
        raise DownloadError(
            f"{path}: {changed}: SHA-256 {found}, recorded {' '.join(recorded) or 'nothing'}; delete "
            f"{'it' if content == path else _checksum_path(path)} and run the same command again to fetch "
            f"{'it anew' if content == path else 'and accept the new one'}"
        )


def _transfer(address: str, part: Path, attempts: int, pause_seconds: float) -> None:
    for attempt in range(1, attempts + 1):
        try:
            _resume(address, part)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise _unavailable(address, part, f"the server answers {error.code} {error.reason}") from error
            reason: Exception = error
        except ConfigError:  # of the limit's option
            raise
        except ValueError as error:  # an address or a length that is none
            raise _unavailable(address, part, f"the server's answer makes no sense: {error}") from error
        except _CONNECTION_ERRORS as error:
            reason = error
        else:
            return
        if attempt == attempts:
            raise _unavailable(address, part, str(reason)) from reason
        log.warning("%s: %s; attempt %d of %d follows", address, reason, attempt + 1, attempts)
        time.sleep(pause_seconds * 2 ** (attempt - 1))


def _resume(address: str, part: Path) -> None:
    """Fetch the rest of `part`; all of it where the file on the server has changed or the server cannot resume."""
    had = part.stat().st_size if part.is_file() else 0
    metadata = _metadata(part) if had else {}
    size = metadata.get("size")
    if had and had == size and metadata.get("address") == address:
        return
    if metadata.get("address") != address or not metadata.get("version") or (size is not None and had > size):
        had = 0
    headers = {"Range": f"bytes={had}-", "If-Range": metadata["version"]} if had else {}
    with _opener.open(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT_SECONDS) as response:
        resumed = response.status == http.client.PARTIAL_CONTENT and _first_byte(response) == had
        length = response.headers.get("Content-Length")
        size = None if length is None else int(length) + (had if resumed else 0)
        _check_bytes(address, part, size or 0)
        if not resumed:
            part.unlink(missing_ok=True)  # before the metadata, which would say that its bytes are of this version
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        write_json(_metadata_path(part), {"address": address, "version": version, "size": size})
        with part.open("ab" if resumed else "wb") as file, _progress(part, size, had if resumed else 0) as progress:
            while chunk := _read(response):
                file.write(chunk)
                progress.update(len(chunk))
                _check_bytes(address, part, file.tell())
    found = part.stat().st_size
    if size is not None and found != size:
        raise _ConnectionLostError(f"the connection ended after {found:,} of {size:,} bytes")


def _check_bytes(address: str, part: Path, size: int) -> None:
    """Raise `DownloadError` where a file is or announces more bytes than the limit; what there is of it goes."""
    limit = DOWNLOAD_BYTES.value()
    if size > limit:
        part.unlink(missing_ok=True)
        _metadata_path(part).unlink(missing_ok=True)
        raise DownloadError(
            f"{address}: not fetched, since it has {size:,} bytes or more, over the limit of {limit:,}; "
            f"{DOWNLOAD_BYTES.way_out()}"
        )


def _metadata(part: Path) -> dict[str, Any]:
    """Address, version and size of a part that an earlier run began; nothing if it does not say, or is damaged."""
    try:
        content = json.loads(_metadata_path(part).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    types = {"address": str, "version": str | None, "size": int | None}
    sound = isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in types.items())
    return content if sound else {}


def _progress(part: Path, size: int | None, done: int) -> "tqdm[Any]":
    """A progress bar in bytes, of rank 0, shown on a terminal only."""
    hidden = None if global_rank() == 0 else True
    return tqdm(total=size, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=hidden)


def _read(response: Any) -> bytes:
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLostError(f"the connection was lost: {error}") from error
    return chunk


def _first_byte(response: Any) -> int | None:
    """First byte of a partial response, as of `Content-Range: bytes 100-199/200`."""
    text = str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else None


def _unavailable(address: str, part: Path, reason: str) -> DownloadError:
    path = part.with_name(part.name.removesuffix(".part"))
    return DownloadError(
        f"{address}: cannot be fetched ({reason}); run the same command again to resume, or fetch it where there is a "
        f"connection and put it at {path}"
    )


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _metadata_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
