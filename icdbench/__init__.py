"""icdbench: published models for automated ICD coding with one data loader, one trainer and one metrics module.

    import icdbench
    runs = icdbench.run(["jlan", "caml"], "demo", seeds=3)   # shown as a table in a notebook
    runs.frame(), runs.compare("jlan", "caml"), runs[0].predictions()

docs/api.md shows all functions. They are imported on first use, so that `import icdbench` does not load torch.
"""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icdbench.api import (
        Dataset,
        Execution,
        Results,
        Run,
        RunsFailedError,
        View,
        ablate,
        evaluate,
        explain,
        load,
        open_dataset,
        results,
        run,
        score,
        tune,
    )
    from icdbench.host import tune_process
    from icdbench.settings import DataError, SpecError

__all__ = [
    "DataError",
    "Dataset",
    "Execution",
    "Results",
    "Run",
    "RunsFailedError",
    "SpecError",
    "View",
    "ablate",
    "evaluate",
    "explain",
    "load",
    "open_dataset",
    "results",
    "run",
    "score",
    "tune",
    "tune_process",
]

__version__ = "0.2.0"

_MODULES = {"tune_process": "host", "DataError": "settings", "SpecError": "settings"}  # all other names are in api


if not TYPE_CHECKING:  # type checkers take the names from the imports above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'icdbench' has no attribute '{name}'")
        if name == "run":  # the import system binds this name to the module
            return importlib.import_module("icdbench.run")
        return getattr(importlib.import_module(f"icdbench.{_MODULES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


class CallableModule(types.ModuleType):
    """The class of the module icdbench.run, which can be called: `icdbench.run(["jlan"])`."""

    def __call__(self, *arguments: Any, **named: Any) -> Results:
        """Call `icdbench.api.run`."""
        return importlib.import_module("icdbench.api").run(*arguments, **named)  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as other modules are."""
        return importlib.import_module, (self.__name__,)

    @property
    def __signature__(self) -> Any:
        """The signature for help() and notebooks."""
        import inspect

        return inspect.signature(importlib.import_module("icdbench.api").run)
