"""The report while runs are in progress: served to this machine alone, made anew when a record or checkpoint changes."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from icdbench import report, store, web

POLICY = {"Content-Security-Policy": "frame-ancestors 'none'"}  # the page itself holds the rest, as it does on disk


@contextlib.contextmanager
def serving(results: Sequence[Path], port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serves inside the block; yields the page's address and a function that waits until it is interrupted.

    Raises SpecError if a folder is none or the port cannot be had.
    """
    report.load(results)
    pages = Pages(results)

    def page(_: Request) -> Response:
        return HTMLResponse(pages.page(), headers=POLICY)

    def version(_: Request) -> Response:
        return PlainTextResponse(pages.version())

    site = Starlette(routes=[Route("/", page), Route("/version", version)])
    with web.serving(site, web.LOOPBACK, port) as served:
        yield served


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
