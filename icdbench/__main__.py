"""Entry point of `python -m icdbench`."""

from icdbench.cli import main

main.main()
