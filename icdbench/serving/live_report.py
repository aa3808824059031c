"""The report of runs in progress, entered by `serving`: only this machine sees it; it follows records and checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from icdbench.presentation import report
from icdbench.records import store
from icdbench.serving import web

POLICY = {"Content-Security-Policy": "frame-ancestors 'none'"}  # the rest of the policy is in the page, as on disk


@contextlib.contextmanager
def serving(results: Sequence[Path], port: int, root: Path | None = None) -> Iterator[tuple[str, Callable[[], object]]]:
    """Serve the report inside the block; yield its address and a function that waits until it is interrupted.

    `root` is the folder of raw data, the source of code titles. Raises SpecError if a results folder does not exist or the port
    cannot be used.
    """
    report.load(results)
    pages = Pages(results, root)
    page = Route("/", lambda _: HTMLResponse(pages.page(), headers=POLICY))
    version = Route("/version", lambda _: PlainTextResponse(pages.version()))
    site = Starlette(routes=[page, version])
    with web.serving(site, web.LOOPBACK, port) as served:
        yield served


class Pages:
    """Renders the page of the latest records, and keeps it until a record or checkpoint changes."""

    def __init__(self, results: Sequence[Path], root: Path | None = None) -> None:
        self.results, self.root = results, root
        self.lock = threading.Lock()
        self.rendered = ("", "")

    def version(self) -> str:
        """Digest the paths, sizes and modification times of all records and checkpoints."""
        digest = hashlib.sha256()
        for folder in self.results:
            for name in (store.RECORD, store.CHECKPOINT):
                for path in sorted(folder.glob(f"*/*/*/{name}")):
                    with contextlib.suppress(FileNotFoundError):  # a run has just ended
                        status = path.stat()
                        digest.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0".encode())
        return digest.hexdigest()[:16]

    def page(self) -> str:
        """Return the HTML of the current version."""
        with self.lock:
            version = self.version()
            if self.rendered[0] != version:
                self.rendered = version, report.page(*report.load(self.results), self.results, version, self.root)
            return self.rendered[1]
