"""Devices, precision, random seeds, and what the processes of a run on several devices exchange."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from icdbench.settings import SpecError, nearest
from icdbench.types import IntArray

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from icdbench.spec import RunSpec


def torch_device(name: str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `mps`. Raises SpecError for any other name and for an absent device."""
    name = str(name)  # torch.device("cuda"), too
    present = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in present:
        raise SpecError(f"no device '{name}'{nearest(name, present)}")
    if not present[name]:
        raise SpecError(f"this machine has no '{name}' device that torch can use; leave --device out or say cpu")
    found = next(device for device in ("cuda", "mps", "cpu") if present[device])
    return torch.device(found if name == "auto" else name)


def fabric(device: str, precision: str = "auto", devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric on `auto`, `cpu`, `cuda` or `mps`, in the precision that `resolved` returns. Raises SpecError.

    With several devices or nodes this process joins the others, which icdbench.experiments.launch started.
    """
    from lightning_fabric import Fabric

    device = str(device)
    precision = resolved(precision, torch_device(device))
    if devices * nodes == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    on = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy="ddp", precision=precision)  # type: ignore[arg-type]
    on.launch()
    return on


@dataclass(frozen=True)
class _Alone:
    """The part of Fabric that is used for a model without the trainer."""

    device: torch.device
    global_rank: int = 0
    world_size: int = 1

    def barrier(self) -> None:
        """Wait for no other process."""


def processes(spec: RunSpec, device: str, devices: int, nodes: int) -> Fabric:
    """Fabric for a run; for a linear model that runs alone a stand-in, as Fabric takes two seconds to load. Raises SpecError."""
    if spec.uses_trainer or devices * nodes > 1:
        return fabric(device, spec.train.precision, devices, nodes)
    return cast("Fabric", _Alone(torch_device(device)))


def resolved(precision: str, device: torch.device) -> str:
    """The precision to compute in: for `auto` bf16 on a GPU that has it, else 32 bits; any other is returned unchanged.

    Runs of different precision are different runs. Raises SpecError for bf16 on a processor without instructions for it.
    """
    if precision == "auto":
        return "bf16-mixed" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
    if precision == "bf16-mixed" and not multiplies_bf16(device):
        raise SpecError(
            f"train.precision={precision}: this processor has no instructions for bfloat16 that torch {torch.__version__} "
            f"knows of ({', '.join(BF16)}), and would compute more slowly than in 32 bits; use 32-true"
        )
    return precision


BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # torch's names for them, on x86 and on ARM


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; False for a CPU under an older torch, without `get_capabilities`."""
    capabilities: Callable[[], Mapping[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    return device.type != "cpu" or (capabilities is not None and any(capabilities().get(each) for each in BF16))


def seed_everything(seed: int) -> None:
    """Seed every generator that a model or torch may use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  gensim and scikit-learn may read the global state
    torch.manual_seed(seed)


def share_of(index_B: IntArray, on: Fabric) -> IntArray:
    """This process's documents of a batch. A process without any gets the first document, which then has no weight."""
    share_B = index_B[on.global_rank :: on.world_size]
    return share_B if len(share_B) else index_B[:1]


def agreed(on: Fabric, *flags: bool) -> list[bool]:
    """For each flag, whether it is set in any process."""
    if on.world_size == 1:
        return list(flags)
    return [bool(flag) for flag in all_rows(torch.tensor(flags, dtype=torch.float32), on).any(0)]


def all_rows(value: Tensor, on: Fabric) -> Tensor:
    """The tensors of all processes [W, …], gathered by a sum, because Fabric's own gathering is deprecated."""
    every_W = torch.zeros(on.world_size, *value.shape, dtype=value.dtype, device=on.device)
    every_W[on.global_rank] = value.to(on.device)
    if on.world_size > 1:
        on.all_reduce(every_W, reduce_op="sum")
    return every_W
