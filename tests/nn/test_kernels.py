"""The package's own gradients: a second derivative is refused, never silently wrong."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import icdbench
from icdbench.nn import kernels


def functions() -> set[str]:
    """Every autograd function that the package defines, model files included."""
    for module in pkgutil.walk_packages(icdbench.__path__, "icdbench."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    found = torch.autograd.Function.__subclasses__()
    return {each.__name__ for each in found if each.__module__.startswith("icdbench.")}


def ones(*shape: int) -> Tensor:
    return torch.rand(*shape, requires_grad=True)


CASES: dict[str, Callable[[], tuple[list[Tensor], Tensor]]] = {}


def case(make: Callable[[], tuple[list[Tensor], Tensor]]) -> Callable[[], tuple[list[Tensor], Tensor]]:
    CASES[make.__name__] = make
    return make


@case
def _Linear() -> tuple[list[Tensor], Tensor]:
    inputs = [ones(3, 4), ones(5, 4)]
    return inputs, kernels._Linear.apply(*inputs)  # type: ignore[no-untyped-call]


@case
def _Dropout() -> tuple[list[Tensor], Tensor]:
    inputs = [ones(30, 4)]
    return inputs, kernels._Dropout.apply(*inputs, 0.5)  # type: ignore[no-untyped-call]


@case
def _BlockedAttention() -> tuple[list[Tensor], Tensor]:
    inputs = [ones(5, 4), ones(2, 6, 4), ones(2, 6, 3)]
    return inputs, kernels._BlockedAttention.apply(*inputs, None)  # type: ignore[no-untyped-call]


@case
def _SpectralConvolution() -> tuple[list[Tensor], Tensor]:
    inputs = [ones(2, 40, 3), ones(4, 3, 5)]
    return inputs, kernels._SpectralConvolution.apply(*inputs, 2)  # type: ignore[no-untyped-call]


@case
def _GatedSteps() -> tuple[list[Tensor], Tensor]:
    inputs = [ones(1, 4, 2, 9), ones(1, 9, 3), ones(1, 9)]
    return inputs, kernels._GatedSteps.apply(*inputs)  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_every_function_has_a_case() -> None:
    assert functions() == CASES.keys()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_second_derivative_is_refused(name: str, *, squared: bool) -> None:
    """Also where the upstream gradient is a constant, as of a plain sum, beside a term that has a derivative."""
    inputs, output = CASES[name]()
    value = output.square().sum() if squared else output.sum()

    def differentiate_twice() -> None:
        gradients = torch.autograd.grad(value, inputs, create_graph=True)
        torch.autograd.grad(value + sum(each.square().sum() for each in gradients), inputs)

    with pytest.raises(RuntimeError, match="no second derivative"):
        differentiate_twice()


@pytest.mark.parametrize("name", CASES)
def test_a_first_derivative_is_given(name: str) -> None:
    inputs, output = CASES[name]()
    gradients = torch.autograd.grad(output.square().sum(), inputs)
    assert all(each.isfinite().all() and each.abs().sum() > 0 for each in gradients)
