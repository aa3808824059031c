"""Pages of the site that are made at build time, and links of the repository as links of the site: a hook of MkDocs.

README, CONTRIBUTING, CHANGELOG, results/*.md and results/speed/*.md become pages as they are. Model cards come from the registry, the tables'
published figures, the literature and the committed records. A source file that a page links to becomes a page, too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from mathml import typeset
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from icdbench import registry
from icdbench.presentation import catalog, headings
from icdbench.records import RunRecord, frame, store
from icdbench.settings import typed

ROOT = Path(__file__).parent.parent
MOVED = {"README.md": "start.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FOLDERS = {
    "models": "models/index.md",
    "results": "results/index.md",
    "results/speed": "performance.md",
    "benchmarks": "tables.md",
}
SPEED = "results/speed/"
PICTURE = ".png"
ITEM = re.compile(r"(?<!\n)\n- ")  # of a list, which in Markdown begins after an empty line
LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
SHOWN = ("f1_macro_harmonic", "f1_micro", "p@5", "map")  # of a card's own figures


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not have."""
    results = [*(ROOT / "results").glob("*.md"), *(ROOT / "results" / "speed").glob("*.md")]
    tables = sorted(path.relative_to(ROOT).as_posix() for path in results)
    for place in [*MOVED, *tables]:
        files.append(File.generated(config, MOVED.get(place, place), abs_src_path=str(ROOT / place)))
    cards = {f"models/{name}.md": card(entry) for name, entry in registry.entries().items()}
    generated = {**cards, "models/index.md": index_of_models(), "results/index.md": index_of_results(tables)}
    for place, text in generated.items():
        files.append(File.generated(config, place, content=text))
    for section in config.nav or []:
        section.get("Models", []).extend({place[7:-3]: place} for place in cards)
        section.get("Results", []).extend(results_in_navigation(tables))
    for target in sorted(set(linked(files))):
        if site_path(target) == target and target.endswith(PICTURE):
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
        elif site_path(target) == f"source/{target}.md":
            text = (ROOT / target).read_text(encoding="utf-8")
            kind = {".py": "python", ".json": "json", ".md": "markdown"}.get(Path(target).suffix, "text")
            page = f"---\nsearch: {{exclude: true}}\n---\n\n# {target}\n\n`````{kind}\n{text}\n`````\n"
            files.append(File.generated(config, f"source/{target}.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point the links of a page to the site's pages; a link to what is no page, such as a folder, is its text."""
    place = page.file.src_uri
    if place == "metrics.md":
        markdown += headings_of_metrics()
    if place.startswith("source/"):
        return markdown
    of = repository_path(place)

    def moved(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(of), found[1]))
        there = site_path(target)
        return f"]({posixpath.relpath(there, posixpath.dirname(place))}{found[2] or ''})" if there else "](#)"

    return re.sub(r"\[([^\]]*)\]\(#\)", r"\1", LINK.sub(moved, markdown))


def linked(files: Files) -> Iterable[str]:
    """Paths in the repository of what pages link to."""
    for file in files.documentation_pages():
        of = repository_path(file.src_uri)
        for found in LINK.finditer(file.content_string):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(of), found[1]))


def repository_path(page: str) -> str:
    """Where the text of a page of the site is in the repository."""
    known = {there: place for place, there in MOVED.items()}
    return known.get(page) or (page if page.startswith(("results/", "models/")) else f"docs/{page}")


def site_path(place: str) -> str:
    """The page that shows a file of the repository; nothing for what no page shows."""
    if place.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", place.removeprefix("docs/"))  # docs/notebooks.py makes their pages
    if place in MOVED or re.fullmatch(r"(results(/speed)?|models)/[^/]+\.md", place):
        return MOVED.get(place, place)
    if place.endswith(PICTURE) and (ROOT / place).is_file():
        return place
    if place in FOLDERS:
        return FOLDERS[place]
    return f"source/{place}.md" if (ROOT / place).is_file() else ""


def rows(heads: Iterable[str], body: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *body]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def index_of_models() -> str:
    """Every model with its paper."""
    found = registry.entries().values()
    body = [[f"[{each.name}]({each.name}.md)", each.about.splitlines()[0], each.paper] for each in found]
    return f"# Models\n\nMade from the registry.\n\n    icdbench models\n\n{rows(['model', 'what', 'paper'], body)}"


def title_of(place: str) -> str:
    """The first line of a committed table's page."""
    return (ROOT / place).read_text(encoding="utf-8").splitlines()[0].strip("#* ")


def results_in_navigation(tables: Iterable[str]) -> list[dict[str, object]]:
    """The titles of the committed tables; measurements of speed are a part of their own."""
    titles = {place: title_of(place).partition(":")[0] for place in tables}
    others: list[dict[str, object]] = [{title: place} for place, title in titles.items() if SPEED not in place]
    return [*others, {"Speed": [{title: place} for place, title in titles.items() if SPEED in place]}]


def index_of_results(tables: Iterable[str]) -> str:
    """The committed tables."""
    listed = {place: f"- [{title_of(place)}]({place.removeprefix('results/')})\n" for place in tables}
    speed, others = (
        "".join(line for place, line in listed.items() if (SPEED in place) is fast) for fast in (True, False)
    )
    about = "Committed tables, made from the committed records by `python results/rebuild.py`."
    return f"# Results\n\n{about}\n\n{others}\n## Speed\n\nMeasured by the commands on each page.\n\n{speed}"


def headings_of_metrics() -> str:
    """What tables call each metric: the one map that they use."""
    body = [[f"`{key}`", text, headings.MACRO_F1.get(key, "")] for key, text in headings.HEADINGS.items()]
    return f"\n## In tables\n\n{rows(['key', 'heading', 'what'], body)}"


def card(entry: registry.Entry) -> str:
    """A model's page: equations, settings, variants, published and own figures."""
    about, _, equations = ITEM.sub("\n\n- ", typeset(entry.about)).partition("\n")
    parts = [
        f"# {entry.name}\n\n{about}\n\n{entry.paper}. Code: [models/{entry.file}]({entry.file}).\n{equations}\n",
        f"## Use\n\n    icdbench run --models {entry.name}\n    icdbench models {entry.name}\n",
        f"## Settings\n\n{settings(entry)}",
        variants(entry),
        published(entry.name),
        measured(entry.name),
    ]
    return "\n".join(parts)


def settings(entry: registry.Entry) -> str:
    """The model's fields, and what it changes of the suite's data and training."""
    ranges = entry.config.ranges()
    body = [
        [
            f"`{entry.name}.{name}`",
            typed(value),
            ranges.get(name, ""),
            entry.config.model_fields[name].description or "",
        ]
        for name, value in entry.config().model_dump().items()
    ]
    own = {**{f"data.{name}": value for name, value in entry.data.items()}}
    own |= {f"train.{name}": value for name, value in entry.train.items()}
    small = {f"{of}.{name}": value for of, values in entry.small_by_target.items() for name, value in values.items()}
    why = f", by {entry.study}" if entry.study else ""
    lines = [rows(["setting", "default", "tuning range", "what"], body) if body else "It has none.\n"]
    lines += [f"Beside them: {assigned(own)}.\n"] if own else []
    lines += [f"On fewer than 2,000 training documents{why}: {assigned(small)}.\n"] if small else []
    return "\n".join(lines)


def assigned(values: Mapping[str, object]) -> str:
    """Settings as --set takes them."""
    return ", ".join(f"`{name}={typed(value)}`" for name, value in values.items())


def variants(entry: registry.Entry) -> str:
    """The declared variants."""
    body = [
        [f"`{entry.name}@{each.name}`", each.about, assigned({**each.model, **each.data, **each.train})]
        for each in entry.variants.values()
    ]
    return f"## Variants\n\n{rows(['variant', 'what', 'sets'], body)}" if body else ""


def plain(name: str) -> str:
    """A name by its letters and digits: `DR–CAML` and `dr-caml` are one system."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def published(name: str) -> str:
    """What the paper's tables and the literature report of a model."""
    body = [
        [each.dataset, label, ", ".join(f"{head} {text}" for (head, _), text in zip(each.metrics, texts, strict=True)), each.source]
        for each in catalog.benchmarks().values()
        for label, (system, texts) in each.published.items()
        if texts and system.partition("@")[0] == name
    ]  # fmt: skip
    body += [
        [each.dataset, each.system, ", ".join(f"{headings.heading(key)} {text}" for key, text in each.figures.items()), each.origin]
        for each in catalog.literature()
        if plain(each.system) == plain(name)
    ]  # fmt: skip
    table = rows(["data set", "system", "percent, as printed", "source"], dict.fromkeys(map(tuple, body)))
    return f"## Published figures\n\n{table}" if body else ""


@cache
def committed() -> list[RunRecord]:
    """The runs below results/."""
    return store.load_records(ROOT / "results", complete=False)


def measured(name: str) -> str:
    """The committed runs of a model: means and standard deviations over seeds."""
    records = [each for each in committed() if each.spec.model == name]
    if not records:
        return "## Measured here\n\nNo runs are committed.\n"
    chosen = frame(records).query("split == 'test' and rule == 'fixed'")
    body, commands = [], {}
    for (dataset, setting, system), figures in chosen.groupby(["dataset", "setting", "system"]):
        by_metric = figures.groupby("metric")["value"].agg(["mean", "std", "count"])
        seeds = figures["seed"].nunique()
        cells = [
            f"{100 * by_metric['mean'][key]:.1f}" + (f" ± {100 * by_metric['std'][key]:.1f}" if seeds > 1 else "")
            for key in SHOWN
        ]
        record = next(each for each in records if each.spec.setting == setting)
        body.append([dataset, f"`{system}`", assigned(record.changed), *cells, seeds])
        commands[command(record, seeds)] = None
    heads = ["data set", "system", "set", *map(headings.heading, SHOWN), "seeds"]
    made = "\n".join(f"    {each}" for each in commands)
    about = (
        "Percent on test documents, threshold 0.5, mean ± standard deviation over seeds, from the committed records."
    )
    return f"## Measured here\n\n{about}\n\n{rows(heads, body)}\n{made}\n"


def command(record: RunRecord, seeds: int) -> str:
    """What makes the runs again."""
    spec = record.spec
    changes = "".join(f" --set {name}={typed(value)}" for name, value in record.changed.items())
    return f"icdbench run --models {spec.system} --dataset {spec.dataset} --seeds {seeds}{changes}"
