"""The command line. Results go to stdout, progress and messages to stderr; heavy imports wait until a command needs them.

Exit status: 0 done, 1 a run failed, 2 the request or the data are wrong (one line says what), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated, Any

import typer

from icdbench.commands import data, results, trained, training
from icdbench.commands.options import fail
from icdbench.spec import DataError, SpecError

app = typer.Typer(
    help="Train and compare published models for automated ICD coding.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (training, results, trained):
    app.add_typer(part.app)
app.add_typer(data.app, name="data")
UsageError: type[Any] = typer.BadParameter.__mro__[1]  # of whichever click it is that typer carries


def main() -> None:
    """Run the command line; turns errors meant for the user into one line and an exit status."""
    logging.basicConfig(level=logging.WARNING, format="icdbench: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is half-written is removed, as at Ctrl-C
    try:
        sys.exit(app(standalone_mode=False))
    except UsageError as error:
        message = error.format_message()
        if "\n" in message:  # the help, as nothing was asked for
            error.show()
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else " ".join(["icdbench", *sys.argv[1:2]])
        fail(f"{message.rstrip('.')}; see '{command} --help'", 2)
    except typer.Abort:
        fail("stopped", 1)
    except (SpecError, DataError) as error:
        fail(str(error), 2)
    except OSError as error:  # a full disk, a folder that vanished
        fail(f"{error.filename or 'output'}: {error.strerror or error}; what was finished is kept", 2)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:  # noqa: FBT002
    if version:
        from icdbench import __version__

        typer.echo(__version__)
        raise typer.Exit
