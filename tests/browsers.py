"""What tests of pages share: Debian's chromium, and pages on which nothing may go wrong."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright
from waiting import ended


def started() -> Iterator[Browser]:
    """Yields a browser; without one the test is skipped, but not in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no chromium; .ci/run installs it")
        pytest.skip("no chromium: apt-get install chromium")
    expect.set_options(timeout=60_000)  # a busy machine is no failure
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`icdbench serve` of a bundle, in a process of its own that works in the bundle's folder; its address."""
    words = [sys.executable, "-m", "icdbench", "serve", "--bundle", bundle.name, "--no-browser", "--port", "0"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(bundle.parent),
    }
    with (
        subprocess.Popen(
            words, cwd=bundle.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
        ended(server),
    ):
        assert server.stdout is not None
        yield server, server.stdout.readline().strip()


class Watched:
    """Opens pages and keeps what went wrong on them, which must be nothing. Asking anybody but the page's own address is wrong."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.wrong: list[str] = []

    def open(
        self, address: str, width: int = 1280, scheme: Any = "light", *, offline: bool = True, scripts: bool = True
    ) -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=offline, java_script_enabled=scripts
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self.wrong.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        page.on("request", lambda request: None if request.url.startswith(address) else self.wrong.append(request.url))
        page.goto(address)
        return page

    def _failed(self, request: Request) -> None:
        """A request that the page itself gave up, for a later choice of its user, is none that failed."""
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"{request.url}: {request.failure}")


def watching(browser: Browser) -> Iterator[Watched]:
    opened = Watched(browser)
    yield opened
    for context in browser.contexts:
        context.close()
    assert opened.wrong == [], opened.wrong


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with a page as it stands, on a desk and on a phone, light and dark."""
    found = []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for width, scheme in itertools.product((1280, 390), schemes):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for each in Axe().run(page).response["violations"]:
            found += [f"{width} {scheme} {each['id']}: {node['html']}" for node in each["nodes"]]
    return found


def send(url: str, body: bytes | dict[str, str], **headers: str) -> tuple[int, str]:
    """Status and text of the answer to a form."""
    data = urllib.parse.urlencode(body).encode() if isinstance(body, dict) else body
    request = urllib.request.Request(url, data)  # noqa: S310
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
