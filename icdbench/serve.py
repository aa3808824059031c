"""The report while runs are in progress: served to this machine alone, made anew when a record or checkpoint changes."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from icdbench import report, store
from icdbench.spec import SpecError

HOST = "127.0.0.1"


@contextlib.contextmanager
def serving(results: Sequence[Path], port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serves inside the block; yields the page's address and a function that waits until it is interrupted.

    Raises SpecError if a folder is none or the port cannot be had.
    """
    report.load(results)
    if not 0 <= port < 2**16:
        raise SpecError(f"--port {port}: give a number from 0 (any free port) to 65535")
    try:
        server = ThreadingHTTPServer((HOST, port), BaseHTTPRequestHandler)
    except OSError as error:
        raise SpecError(
            f"--port {port} cannot be had ({error.strerror}); name another, or 0 for any that is free"
        ) from None
    own = {f"{name}:{server.server_port}" for name in (HOST, "localhost")}
    server.RequestHandlerClass = _handler(Pages(results), own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/", _wait
    finally:
        server.shutdown()
        server.server_close()


def _wait() -> None:
    threading.Event().wait()


class Pages:
    """The page of the latest records; made again only for another version of them."""

    def __init__(self, results: Sequence[Path]) -> None:
        self.results = results
        self.lock = threading.Lock()
        self.made = ("", "")

    def version(self) -> str:
        """A digest of what records and checkpoints there are, and of when they were written."""
        seen = hashlib.sha256()
        for folder in self.results:
            for name in (store.RECORD, store.CHECKPOINT):
                for path in sorted(folder.glob(f"*/*/*/{name}")):
                    with contextlib.suppress(FileNotFoundError):  # a run has just ended
                        status = path.stat()
                        seen.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0".encode())
        return seen.hexdigest()[:16]

    def page(self) -> str:
        with self.lock:
            version = self.version()
            if self.made[0] != version:
                self.made = version, report.page(*report.load(self.results), self.results, version)
            return self.made[1]


def _handler(pages: Pages, hosts: Container[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host") not in hosts:  # a foreign name that was bound to loopback
                self.send_error(HTTPStatus.FORBIDDEN, "This report answers to its own address alone")
            elif self.path == "/":
                self._answer(pages.page(), "text/html")
            elif self.path == "/version":
                self._answer(pages.version(), "text/plain")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _answer(self, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(HTTPStatus.OK)
            for name, value in {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the page was closed
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keeps the terminal for what was asked."""

    return Handler
