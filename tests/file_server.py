"""A file server on this machine that resumes transfers, and breaks them off where a test wants it to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Files by path; `log` has the requests as "path" or "path from byte"."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.log: list[str] = []
        self.break_off_after: int | None = None  # bytes, for the next request alone
        self.resumes = True
        self.announces = True  # how long a file is
        self.status = 200
        self.moved: dict[str, str] = {}  # path to the address it redirects to


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests for the time of the block, at the address that it gets."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()


@contextmanager
def serving() -> Iterator[FileServer]:
    """Run a server for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in server.moved:
                self.send_response(302)
                self.send_header("Location", server.moved[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = server.files.get(self.path)
            if content is None or server.status != 200:
                self.send_error(404 if content is None else server.status)
                return
            version, start = f'"{hash(content)}"', 0
            wanted = self.headers.get("Range")
            if wanted and server.resumes and self.headers.get("If-Range") == version:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            server.log.append(self.path + (f" from {start}" if start else ""))
            self.send_response(206 if start else 200)
            if server.announces:
                self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", version)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            end, server.break_off_after = server.break_off_after, None
            self.wfile.write(content[start : end if end is None else start + end])

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as address:
        server = FileServer(address)
        yield server
