"""Make the pictures of the pages that the documentation shows: `python docs/screenshots.py`, with Debian's chromium.

Both show quick runs on the packaged synthetic notes. Fonts and times differ from machine to machine: make and commit the
pictures when the pages change.

`python docs/screenshots.py --check FOLDER` writes into a folder whatever a reader sees, to be looked at, wide and narrow,
light and dark: the pages of the site (of `nox -s docs`, or `--site FOLDER`), the report, the page of `icdbench serve` and
that of `icdbench explain`. It says which are wider than the screen.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parent
COMMAND = [sys.executable, "-m", "icdbench"]
MODELS = "knn,lr,phrases,stacked"
SIDE_BY_SIDE = ("stacked", "lr")
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
PATIENCE = 120_000  # milliseconds that a page may take
TALLEST = 4000  # pixels of a page that `--check` shows
NOTE = "Admitted with fever and dyspnea. Type 2 diabetes mellitus, arterial hypertension. No chest pain."


def icdbench(folder: Path, *words: str) -> None:
    """Run a command in the folder."""
    subprocess.run([*COMMAND, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def report(folder: Path) -> str:
    """The address of the report of four systems, which are trained first."""
    icdbench(folder, "run", "--models", MODELS, "--set", "data.top_codes=10", "--results", "results")
    icdbench(folder, "report")
    return (folder / "report.html").as_uri()


def explained(folder: Path) -> str:
    """The address of a page that explains a note, by the packaged coder."""
    (folder / "note.txt").write_text(NOTE, encoding="utf-8")
    icdbench(folder, "explain", "note.txt", "--html", "explain.html")
    return (folder / "explain.html").as_uri()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of `icdbench serve` of two of the report's systems, as long as the block lasts."""
    runs = [str(run) for model in SIDE_BY_SIDE for run in (folder / "results" / "demo" / model).iterdir()]
    words = [*COMMAND, "serve", "--no-browser", "--port", "0", *(word for run in runs for word in ("--run", run))]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def save(page: Page, name: str) -> None:
    """Write what the page shows, in 256 colours: a third of the bytes."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256).save(DOCS / name, optimize=True)


def check(browser: Browser, pages: Mapping[str, str], folder: Path) -> None:
    """Write a picture of each page, by its name, for each width and colour scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for scheme in SCHEMES:
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            for name, address in pages.items():
                page.goto(address)
                page.wait_for_load_state("networkidle")
                wide, tall = page.evaluate("[document.body.parentElement.scrollWidth, document.body.scrollHeight]")
                if wide > width:
                    sys.stdout.write(f"{name}: {wide} pixels wide at {width}, {scheme}\n")
                area = {"x": 0, "y": 0, "width": width, "height": min(max(tall, 800), TALLEST)}
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True, clip=area)  # type: ignore[arg-type]
            context.close()


def of_site(site: Path) -> dict[str, str]:
    """The pages of a site that was built, but for listings of source code, by names for files."""
    found = sorted(path for path in site.rglob("index.html") if path.relative_to(site).parts[0] != "source")
    return {"-".join(("site", *path.relative_to(site).parts[:-1])): path.as_uri() for path in found}


def main() -> None:
    """Both pictures, 1,280 pixels wide; or with `--check` all that there is to see."""
    parser = argparse.ArgumentParser(description="Pictures of the pages.")
    parser.add_argument("--check", type=Path, help="a folder for pictures of all pages")
    parser.add_argument("--site", type=Path, default=DOCS.parent / "build" / "site", help="the site's folder")
    asked = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as place:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page, folder = browser.new_page(viewport={"width": 1280, "height": 800}), Path(place)
        page.set_default_timeout(PATIENCE)
        address = report(folder)
        with serving(folder) as served:
            if asked.check:
                own = {"report": address, "explain": explained(folder), "serve": f"{served}?example=0"}
                check(browser, {**own, **of_site(asked.site)}, asked.check)
            else:
                page.goto(address)
                save(page, "report.png")
                page.goto(served)
                page.get_by_text("Try a made-up note").click()
                page.locator("mark").first.wait_for()
                save(page, "serve.png")
        browser.close()


if __name__ == "__main__":
    main()
