"""The checks, by name: `nox -s lint types tests build docs` is what CI runs; `audit` asks the network, `bench` measures."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "build", "docs"]

FOLDERS = ("icdbench", "models", "benchmarks", "tests", "docs", "results", "noxfile.py")
LARGEST_WHEEL = 8_000_000  # bytes
CONSTRAINED = ("--constraint", "constraints.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install("ruff", *CONSTRAINED)
    session.run("ruff", "check", *FOLDERS)
    session.run("ruff", "format", "--check", *FOLDERS)


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, over the tests too."""
    session.install("--editable", ".[dev]", *CONSTRAINED)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, and how much of the core it runs (pyproject.toml has the bound); arguments after -- go to pytest."""
    session.install("--editable", ".[dev]", *CONSTRAINED)
    session.run("pytest", *(session.posargs or ("-n", "2", "--cov")))


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the pinned dependencies; secrets in tracked files (hashes alone are none)."""
    session.install("pip-audit", "detect-secrets", *CONSTRAINED)
    listed = session.run(
        "git",
        "ls-files",
        "--",
        ":!results",
        ":!icdbench/presentation/page",
        external=True,
        silent=True,
    )
    plugins = ("--disable-plugin", "HexHighEntropyString", "--disable-plugin", "Base64HighEntropyString")
    session.run("detect-secrets-hook", *plugins, *str(listed).splitlines())
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "--requirement", "constraints.txt")


@nox.session
def build(session: nox.Session) -> None:
    """The sdist and the wheel, which is installed into an environment of its own, away from the sources, answers and trains."""
    session.install("build", "twine", *CONSTRAINED)
    wheels = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", wheels)  # the wheel from the sdist
    built = sorted(path for path in Path(wheels).iterdir() if path.suffix in {".whl", ".gz"})
    session.run("twine", "check", "--strict", *map(str, built))
    if large := [path.name for path in built if path.suffix == ".whl" and path.stat().st_size > LARGEST_WHEEL]:
        session.error(f"{large}: larger than {LARGEST_WHEEL:,} bytes")
    session.install("--force-reinstall", "--no-deps", f"--find-links={wheels}", "--no-index", "icdbench")
    session.install("icdbench", *CONSTRAINED)
    session.cd(wheels)
    session.run("icdbench", "--version")
    session.run("icdbench", "models")
    session.run("icdbench", "tables", silent=True)
    session.run("icdbench", "run", "--models", "lr", "--results", "results")
    session.run("icdbench", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation's site, into build/site; a warning, such as a link that leads nowhere, is an error."""
    session.install("--editable", ".[docs]", *CONSTRAINED)
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Time and memory; every script of benchmarks/speed, results on stdout."""
    session.install("--editable", ".[dev,bench]", *CONSTRAINED)
    for script in (
        "demo",
        "prepare",
        "vectors",
        "metrics",
        "predict",
        "train",
        "linear",
        "start",
        "checkpoint",
        "grid",
    ):
        session.run("python", f"benchmarks/speed/{script}.py")
