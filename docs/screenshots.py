"""Make the pictures of the pages that the documentation shows: `python docs/screenshots.py`, with Debian's chromium.

Both show quick runs on the packaged synthetic notes. Fonts and times differ from machine to machine: make and commit the
pictures when the pages change. `python docs/screenshots.py --check FOLDER` writes the whole of every page into a folder
instead, wide and narrow, light and dark, to be looked at: of the site in build/site (`nox -s docs`), the report, the page of
`icdbench serve`, and that of `icdbench explain`. It says which are wider than the screen.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
COMMAND = [sys.executable, "-m", "icdbench"]
MODELS = "knn,lr,phrases,stacked"
SIDE_BY_SIDE = ("stacked", "lr")


def report(page: Page, folder: Path) -> None:
    """The beginning of the report of four systems."""
    runs = [*COMMAND, "run", "--models", MODELS, "--set", "data.top_codes=10", "--results", "results"]
    for words in (runs, [*COMMAND, "report"]):
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    page.goto((folder / "report.html").as_uri())
    save(page, "report.png")


def serve(page: Page, folder: Path) -> None:
    """Codes and evidence of a made-up note by two of these systems, on the page of `icdbench serve`."""
    runs = [str(run) for model in SIDE_BY_SIDE for run in (folder / "results" / "demo" / model).iterdir()]
    words = [*COMMAND, "serve", "--no-browser", "--port", "0", *(word for run in runs for word in ("--run", run))]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            assert server.stdout is not None
            page.goto(server.stdout.readline().strip())
            page.get_by_text("Try a made-up note").click()
            page.locator("mark").first.wait_for()
            save(page, "serve.png")
        finally:
            server.terminate()


def save(page: Page, name: str) -> None:
    """Write what the page shows, in 256 colours: a third of the bytes."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256).save(DOCS / name, optimize=True)


def main() -> None:
    """Both pictures, 1,280 pixels wide."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for make in (report, serve):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(120_000)
            make(page, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
