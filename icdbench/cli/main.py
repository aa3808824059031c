"""The command line, entered by `main`. Results go to stdout, progress and messages to stderr; heavy imports are deferred.

Exit status: 0 success, 1 a run failed, 2 the request or the data are wrong (one line says what), 130 stopped by Ctrl-C, 143
by SIGTERM, 129 by SIGHUP (the terminal was closed). Training that is stopped by any of these signals ends with 130.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

import typer

from icdbench.cli import data, results, scored, trained, training
from icdbench.cli.options import echo, fail
from icdbench.host import output, processes, tune_process
from icdbench.settings import DataError, SpecError

app = typer.Typer(
    help="Train and compare published models for automated ICD coding.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (training, results, scored, trained):
    app.add_typer(part.app)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run a command; errors meant for the user become one line and an exit status."""
    output.log_to_stderr(logging.WARNING)
    tune_process()
    for number in processes.terminations():  # remove what is half-written, as on Ctrl-C
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        status = app(standalone_mode=False)
        if status == 130:  # Ctrl-C before the command could handle it
            fail("stopped", status)
        sys.exit(status)
    except typer.TyperException as error:
        message = error.format_message()
        if "\n" in message:  # the help, printed when no command is given
            echo(message, err=True)
            sys.exit(2)
        context: typer.Context | None = getattr(error, "ctx", None)  # set by usage errors
        command = context.command_path if context else " ".join(["icdbench", *sys.argv[1:2]])
        fail(f"{message.rstrip('.')}; see '{command} --help'", 2)
    except typer.Abort:
        fail("stopped", 1)
    except (SpecError, DataError) as error:
        fail(str(error), 2)
    except OSError as error:  # a full disk, a folder that vanished
        fail(
            f"{error.filename2 or error.filename or 'output'}: {error.strerror or error}; what was finished is kept", 2
        )


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from icdbench import __version__

        echo(__version__)
        raise typer.Exit
