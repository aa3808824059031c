"""A trained network as an ONNX file (`write`), for programs without Python: tokens and lengths in, logits out.

    tokens int64 [documents, tokens], padded with 0    lengths int64 [documents]    ->    logits float32 [documents, codes]

Both axes may have any size. The file's metadata has under `icdbench` the JSON of a bundle: the words in the order of their
indices, the codes, the thresholds. Before anything is written, onnxruntime's logits are compared with torch's at several
lengths; a model whose export is right only at one length is refused.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from icdbench.files import replacing
from icdbench.inference import bundle
from icdbench.inference.bundle import Bundle
from icdbench.settings import SpecError
from icdbench.training import score
from icdbench.types import UNKNOWN, Batch

TOLERANCE = 1e-5  # of logits, absolute and relative
LENGTHS = ((1, 1), (2, 40), (3, 2500))  # numbers of documents and tokens (at most max_tokens) for the comparison


def write(made: Bundle, out: Path) -> None:
    """Write the network. Raises SpecError for a model that cannot be written as ONNX, and if the packages are missing."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SpecError(f"--to onnx: {error.name} is missing; pip install 'icdbench[onnx]'") from None
    if made.contents.encoder is not None:
        raise SpecError(
            f"'{made.system}' cannot be written as ONNX: its encoder reads notes in chunks, whose number the file would fix"
        )
    model = bundle.model(made, torch.device("cpu"))
    if not score.is_network(model):
        raise SpecError(f"'{made.system}' cannot be written as ONNX: it is no network, but fitted as a whole")
    with replacing(out, private=True) as temporary:
        program = exported(model, made.system, len(made.contents.tokens), len(made.contents.codes))
        program.model.metadata_props["icdbench"] = made.contents.model_dump_json()
        program.save(temporary)
        compare(model, temporary, made)


class OnTokens(nn.Module):
    """A network with tensors as inputs. It pads by the widest convolution, as a document may be shorter than that."""

    def __init__(self, network: nn.Module, num_codes: int) -> None:
        super().__init__()
        self.network, self.num_codes = network, num_codes
        self.widest = max((each.kernel_size[0] for each in network.modules() if isinstance(each, nn.Conv1d)), default=0)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Compute logits_BL."""
        padded_BT = functional.pad(tokens_BT, (0, self.widest))
        labels_BL = torch.zeros(tokens_BT.shape[0], self.num_codes)
        logits_BL: Tensor = self.network(Batch(padded_BT, lengths_B, labels_BL, lengths_B))
        return logits_BL


def exported(network: nn.Module, system: str, num_tokens: int, num_codes: int) -> torch.onnx.ONNXProgram:
    """Export the network as an ONNX program. Raises SpecError if it cannot be exported."""
    refused = f"'{system}' cannot be written as ONNX"
    if any(isinstance(each, nn.RNNBase) for each in network.modules()):
        raise SpecError(f"{refused}: it is recurrent, reading words one after another in a way that is icdbench's own")
    dynamic = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                OnTokens(network, num_codes).eval(),
                documents(3, 17, num_tokens),
                dynamo=True,
                verbose=False,
                input_names=["tokens", "lengths"],
                output_names=["logits"],
                dynamic_shapes=({0: dynamic, 1: dynamic}, {0: dynamic}),
            )
    except Exception as error:
        raise SpecError(f"{refused}: {_reason(error)}") from error
    assert program is not None
    return program


def compare(network: nn.Module, path: Path, made: Bundle) -> None:
    """Raises SpecError if onnxruntime's logits differ from torch's at any of several lengths."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count, longest in LENGTHS:
        size = min(longest, made.contents.max_tokens)
        tokens_BT, lengths_B = documents(count, size, len(made.contents.tokens))
        with torch.no_grad():
            labels_BL = torch.zeros(count, len(made.contents.codes))
            expected_BL = network(Batch(tokens_BT, lengths_B, labels_BL, lengths_B)).numpy()
        (found_BL,) = session.run(None, {"tokens": tokens_BT.numpy(), "lengths": lengths_B.numpy()})
        if not np.allclose(found_BL, expected_BL, TOLERANCE, TOLERANCE):
            raise SpecError(
                f"'{made.system}' cannot be written as ONNX: at {size:,} words logits differ by "
                f"{np.abs(found_BL - expected_BL).max():.1g}, so its computation depends on the length"
            )


def documents(count: int, size: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Random documents, tokens [B, T] and lengths [B]; the first has `size` tokens."""
    generator = torch.Generator().manual_seed(size)
    lengths_B = torch.randint(1, size + 1, (count,), generator=generator)
    lengths_B[0] = size
    drawn_BT = torch.randint(UNKNOWN, num_tokens, (count, size), generator=generator)
    return drawn_BT * (torch.arange(size) < lengths_B[:, None]), lengths_B


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The message of the innermost error, in one line."""
    while (inner := error.__cause__) is not None:
        error = inner
    line: Any = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"torch says: {line[:160]}"
