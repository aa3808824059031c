"""Measure time and memory of training and inference of every neural model, compared with textbook implementations.

    python benchmarks/speed/train.py [--models caml,jlan] [--codes 50,8921] [--steps 3] [--parts steps,epoch,growth]

`steps`: batches of 8 documents of 2,500 tokens, with 52,000 words. `plain` is the implementation in plain.py: full
attention weights, packed recurrences, fp32, torch's own Adam, documents padded to 2,500 tokens. `ours` is what
`icdbench run` executes, in bf16 where the GPU supports it, or in `--precision bf16-mixed` on a CPU that has instructions for
it; the floor is always that of single precision there. Each case runs in its own process, for its own peak memory;
both have the same weights and must give the same logits. A step is forward, loss, backward and Adam; the fastest of
`--steps` counts, after one warm-up step.

The floor is the larger of two times: the model's matrix products at the rate of the machine's fastest product, and the
bytes that must move at the rate of a copy. Products are counted in the plain model, so attention weights that ours
recomputes for the gradient do not raise the floor. The bytes are parameters read twice, gradients written, Adam's four
reads and three writes, and what the backward pass reads of the forward pass, written once and read once. Both rates are
measured before and after the models.

`epoch`: documents as long as MIMIC's (median 1,400 tokens), ours batched by the loader, plain all padded to 2,500. The
two processes take turns of a second or LONGEST steps, so that other work on the machine slows both equally; every
LONGEST-th step is followed by one of full length, from which `by longest` is computed. Ours has run the epoch once
before (`at first`), so that it has met every batch width; plain has only one. On a GPU the share of time in which it
computed is given.

`growth`: ours alone, over two decades of documents, tokens and codes.

On a busy machine, `--clock process_time` with OMP_NUM_THREADS=1 measures CPU seconds instead of wall time. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from icdbench import registry
from icdbench.benchmarks.speed.plain import PLAIN, TIMED, load
from icdbench.data.batches import Loader, training_order
from icdbench.host import tune_process
from icdbench.host.tuning import ENVIRONMENT
from icdbench.spec import TrainSpec
from icdbench.training import memory
from icdbench.training.accelerator import fabric, seed_everything
from icdbench.training.objectives import BCE, objective_of, optimizer_of
from icdbench.types import Batch, Encoded, Hierarchy, IntArray, Task

WORDS, DOCUMENTS, TOKENS, CODES_EACH = 52_000, 8, 2_500, 15
MEDIAN, SPREAD = 1_400, 0.47  # length of MIMIC's summaries, and the standard deviation of its logarithm
TITLE = 6  # words of a code's title
TOLERANCE = {False: 1e-4, True: 1e-2}  # of logits: absolute; in 16 bits as a share of the largest
TURN, LONGEST = 1.0, 4  # seconds, steps
WAITING = "waiting\n"
AS_TORCH_IS = {"THP_MEM_ALLOC_ENABLE": "0", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}  # of icdbench.host.tuning's
CLOCK = "ICDBENCH_SPEED_CLOCK"  # names the function of `time` to use; read by child processes
Row = dict[str, Any]


def task(num_codes: int, width: int) -> Task:
    """Make a task with random word vectors and titles, and a tree with eight codes under each heading."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((WORDS, width), np.float32) / np.float32(width**0.5)
    vectors[0] = 0
    titles = generator.integers(2, WORDS, (num_codes, TITLE), np.int32)
    headings = -(-num_codes // 8)
    root = num_codes + headings
    parents = np.concatenate([num_codes + np.arange(num_codes) // 8, np.full(headings, root), [-1]])
    tree = Hierarchy(parents, ("",) * (headings + 1), (titles[0, :0],) * (headings + 1))
    return Task(WORDS, num_codes, vectors, tuple(titles), tree)


def documents(lengths: IntArray, num_codes: int, max_tokens: int = TOKENS) -> Encoded:
    """Draw documents with words by Zipf's law and 15 codes each, or a tenth of the codes if those are fewer."""
    generator = np.random.default_rng(0)
    cumulative = np.cumsum(1 / np.arange(1, WORDS - 1))
    tokens = 2 + np.searchsorted(cumulative, generator.random(lengths.sum()) * cumulative[-1])
    each = min(CODES_EACH, max(1, num_codes // 10))
    codes = np.concatenate([np.sort(generator.choice(num_codes, each, replace=False)) for _ in lengths])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    none = np.zeros(len(lengths), np.int32)
    ids = tuple(map(str, range(len(lengths))))
    offsets = each * np.arange(len(lengths) + 1)
    return Encoded(ids, tokens.astype(np.int32), starts, codes, offsets, none, num_codes, max_tokens)


def realistic_lengths(count: int) -> IntArray:
    drawn = np.random.default_rng(0).lognormal(math.log(MEDIAN), SPREAD, count)
    return drawn.astype(np.int64).clip(1, TOKENS)


def of_similar_length(encoded: Encoded, order: list[IntArray], device: torch.device) -> Iterator[Batch]:
    """Make batches the suite's way: documents of similar length, padded to about the longest of them."""
    return Loader(encoded, device).batches(order)


def padded(encoded: Encoded, order: Sequence[IntArray], device: torch.device) -> Iterator[Batch]:
    """Make batches the plain way, every document padded to TOKENS."""
    for index_B in order:
        tokens_BT = torch.zeros(len(index_B), TOKENS, dtype=torch.long)
        labels_BL = torch.zeros(len(index_B), encoded.num_codes)
        for row, document in enumerate(index_B):
            tokens = encoded.tokens[encoded.token_offsets[document] : encoded.token_offsets[document + 1]]
            tokens_BT[row, : len(tokens)] = torch.from_numpy(tokens)
            labels_BL[row, encoded.codes[encoded.code_offsets[document] : encoded.code_offsets[document + 1]]] = 1
        lengths_B = torch.from_numpy(encoded.lengths[index_B])
        yield Batch(tokens_BT.to(device), lengths_B.to(device), labels_BL.to(device), torch.from_numpy(index_B))


class Timed:
    """A model in one of the two implementations, ready to be timed."""

    def __init__(self, way: str, name: str, num_codes: int, on: Fabric) -> None:
        self.on, self.num_codes = on, num_codes
        config = registry.entry(name).config()
        given = task(num_codes, config.model_dump()["embedding_size"])
        seed_everything(1)
        model = registry.build(name, given)
        assert isinstance(model, nn.Module)
        if way == "plain":
            ours, model = model, PLAIN[name](config, given)
            load(model, ours.state_dict())
        spec = TrainSpec(learning_rate=1e-4)
        if way == "ours":
            tune_process()
        make = optimizer_of if way == "ours" else _plain_optimizer
        self.model = model.to(on.device)
        self.module, self.optimizer = on.setup(self.model, make(self.model, spec))

    def step(self, batch: Batch) -> None:
        self.module.train()
        memory.backward(self.module, self.optimizer, batch, BCE, 0, len(batch.index_B), self.on)
        self.optimizer.step()

    @torch.no_grad()
    def infer(self, batch: Batch) -> Tensor:
        with self.on.autocast() if self.on.device.type == "cpu" else contextlib.nullcontext():
            logits_BL: Tensor = self.model.eval()(batch)
        return logits_BL.float().cpu()

    def products(self, batch: Batch, *, training: bool) -> int:
        """Count the floating-point operations of its matrix products and convolutions."""
        aten = torch.ops.aten
        recurrences = {aten.mkldnn_rnn_layer: _recurrence, aten.mkldnn_rnn_layer_backward: _recurrence_backward}
        with FlopCounterMode(display=False, custom_mapping=recurrences) as counter:
            if training:
                self.step(batch)
            else:
                self.infer(batch)
        return int(counter.get_total_flops())

    def kept_bytes(self, batch: Batch) -> int:
        """Return the bytes that the backward pass reads of the forward pass, without parameters."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, Any] = {}

        def keep(tensor: Tensor) -> Tensor:
            whole = tensor.coalesce() if tensor.is_sparse else None
            for part in (tensor,) if whole is None else (whole.indices(), whole.values()):
                kept[part.untyped_storage().data_ptr()] = part.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            objective_of(self.module, batch)
        return sum(storage.nbytes() for place, storage in kept.items() if place not in own)


def _recurrence(input_TBF: Sequence[int], input_GF: Sequence[int], state_GH: Sequence[int], *_: Any, **__: Any) -> int:
    """Count the operations of oneDNN's LSTM, which torch does not, from the shapes of its input and weights."""
    return 2 * math.prod(input_TBF[:2]) * (math.prod(input_GF) + math.prod(state_GH))


def _recurrence_backward(*shapes: Any, **named: Any) -> int:
    return 2 * _recurrence(*shapes, **named)


def _plain_optimizer(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=spec.learning_rate)


def fastest(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Return the seconds of the fastest of several calls."""
    clock = time.process_time if os.environ[CLOCK] == "process_time" else time.perf_counter
    seconds = []
    for _ in range(times):
        _synchronise(device)
        begun = clock()
        work()
        _synchronise(device)
        seconds.append(clock() - begun)
    return min(seconds)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device) -> float:
    """Return the peak memory so far in GiB, of the GPU if there is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


# What child processes measure: each function takes a case and returns its figures.


def rates(case: Row) -> Row:
    """Measure operations per second of the faster of two ways to multiply, and bytes per second of a copy."""
    device = fabric(case["device"]).device
    low = device.type == "cuda" and torch.cuda.is_bf16_supported()
    size = 8192 if low else 2048
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16 if low else None) for _ in range(2))
    out, filters = torch.empty_like(one), other[:, :, None]
    by_matrix = fastest(lambda: torch.mm(one, other, out=out), 10, device)
    by_filter = fastest(lambda: torch.conv1d(one[None], filters), 10, device)
    source = torch.ones(1 << 26, device=device)
    target = torch.ones_like(source)
    copying = fastest(lambda: target.copy_(source), 10, device)
    return {
        "product": 2 * size**3 / min(by_matrix, by_filter),
        "mm": 2 * size**3 / by_matrix,
        "copy": 8 * len(source) / copying,
    }


def steps(case: Row) -> Row:
    """Measure inference and training of one model at one size."""
    on = fabric(case["device"], case["precision"] if case["way"] == "ours" else "32-true")
    before = peak(on.device)
    timed = Timed(case["way"], case["model"], case["codes"], on)
    given = documents(np.full(DOCUMENTS, case["tokens"]), case["codes"], case["tokens"])
    (batch,) = Loader(given, on.device).batches([np.arange(DOCUMENTS)])
    logits = timed.infer(batch)
    np.save(case["logits"], logits.numpy())
    found: Row = {"infer": fastest(lambda: timed.infer(batch), case["steps"], on.device)}
    found["infer_peak"] = peak(on.device) - before
    timed.step(batch)
    found["train"] = fastest(lambda: timed.step(batch), case["steps"], on.device)
    found["train_peak"] = peak(on.device) - before
    found["parameters"] = sum(value.numel() for value in timed.model.parameters())
    found["busy"], found["waits"] = (
        busy(lambda: timed.step(batch), on.device),
        waits(lambda: timed.step(batch), on.device),
    )
    if case["way"] == "plain":
        found["train_products"] = timed.products(batch, training=True)
        found["infer_products"] = timed.products(batch, training=False)
    elif case["tokens"] == TOKENS:
        found["kept"] = timed.kept_bytes(batch)
    return found


def epoch(case: Row) -> Row:
    """Measure mean seconds of a step over documents of realistic lengths and of one of full length, taking turns."""
    turn()
    on = fabric(case["device"], case["precision"] if case["way"] == "ours" else "32-true")
    timed = Timed(case["way"], case["model"], case["codes"], on)
    lengths = realistic_lengths(case["documents"])
    given = documents(lengths, case["codes"])
    if case["way"] == "ours":
        order = training_order(lengths, DOCUMENTS, seed=1, epoch=1)
        make = of_similar_length
    else:
        order = [np.arange(len(lengths))[first : first + DOCUMENTS] for first in range(0, len(lengths), DOCUMENTS)]
        make = padded
    made = functools.partial(make, given, order, device=on.device)
    full = documents(np.full(DOCUMENTS, TOKENS), case["codes"])
    (longest,) = Loader(full, on.device).batches([np.arange(DOCUMENTS)])
    timed.step(longest)

    def run() -> None:
        for batch in made():
            timed.step(batch)

    found: Row = {}
    if case["way"] == "ours":
        found = {"first": fastest(run, 1, on.device) / len(order)}
    seconds, longest_seconds = [], []
    coming, begun = made(), -math.inf
    for number in range(len(order)):
        if number % LONGEST == 0 and time.monotonic() - begun > TURN:
            turn()
            timed.infer(longest)  # warm up: the other process has used the caches
            begun = time.monotonic()
        seconds.append(fastest(lambda: timed.step(next(coming)), 1, on.device))
        if number % LONGEST == 0:
            longest_seconds.append(fastest(lambda: timed.step(longest), 1, on.device))
    found |= {"real": statistics.mean(seconds), "longest": statistics.mean(longest_seconds)}
    if case["way"] == "ours":
        found["busy"] = busy(run, on.device)
    return found


def turn() -> None:
    """Let the other process run, and wait for our turn."""
    print(WAITING, end="", flush=True)
    input()


def grown(case: Row) -> Row:
    """Measure an epoch over documents of one length, after a warm-up step."""
    on = fabric(case["device"])
    before = peak(on.device)
    timed = Timed("ours", case["model"], case["codes"], on)
    lengths = np.full(case["documents"], case["tokens"])
    given, order = documents(lengths, case["codes"]), training_order(lengths, DOCUMENTS, seed=1, epoch=1)

    def run(order: list[IntArray]) -> None:
        for batch in Loader(given, on.device).batches(order):
            timed.step(batch)

    run(order[:1])
    return {"train": fastest(lambda: run(order), 1, on.device), "train_peak": peak(on.device) - before}


def busy(work: Callable[[], object], device: torch.device) -> float:
    """Return the share of the time of `work` in which the GPU computed; 0 for a CPU."""
    if device.type != "cuda":
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        seconds = fastest(work, 1, device)
    microseconds: float = sum(event.self_device_time_total for event in profiler.key_averages())
    return microseconds / 1e6 / seconds


def waits(work: Callable[[], object], device: torch.device) -> int:
    """Return how often `work` waits for the GPU, as torch warns of it; 0 for a CPU."""
    if device.type != "cuda":
        return 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in caught)


MEASURES = {"rates": rates, "steps": steps, "epoch": epoch, "grown": grown}


def child(measure: str, **case: Any) -> Row:
    """Measure one case in a separate process."""
    (found,) = children(measure, [case])
    return found


def children(measure: str, cases: Sequence[Row]) -> list[Row]:
    """Measure cases in separate processes; processes that take turns run one at a time."""
    with contextlib.ExitStack() as running:
        processes, pipes = [], []
        for case in cases:
            told = (case[key] for key in ("way", "model", "codes") if key in case)
            print(measure, *told, file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--case", json.dumps({"measure": measure, **case})]
            environment = os.environ | (AS_TORCH_IS if case.get("way") == "plain" else ENVIRONMENT)
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            assert process.stdin
            assert process.stdout
            processes.append(running.enter_context(process))
            pipes.append((process.stdin, process.stdout))
        lines = [said.readline() for _, said in pipes]
        while WAITING in lines:
            for place, (told_to, said) in enumerate(pipes):
                if lines[place] == WAITING:
                    print(file=told_to, flush=True)
                    lines[place] = said.readline()
        if any(process.wait() for process in processes):
            sys.exit(1)  # the child has printed why
        return [json.loads(line) for line in lines]


def mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def step_tables(chosen: argparse.Namespace) -> None:
    before = child("rates", device=chosen.device)
    found: list[Row] = []
    for codes in chosen.codes:
        for model in chosen.models:
            with tempfile.TemporaryDirectory() as folder:
                logits = {way: str(Path(folder) / f"{way}.npy") for way in ("ours", "plain")}
                case = {
                    "model": model,
                    "codes": codes,
                    "tokens": TOKENS,
                    "steps": chosen.steps,
                    "device": chosen.device,
                    "precision": chosen.precision,
                }
                ours, plain = (child("steps", way=way, logits=path, **case) for way, path in logits.items())
                own_BL, plain_BL = map(np.load, logits.values())
            low = "bf16" in chosen.precision
            difference = float(np.abs(own_BL - plain_BL).max() / (np.abs(plain_BL).max() if low else 1))
            if difference > TOLERANCE[low]:
                sys.exit(f"{model} at {codes} codes: logits differ from the plain model's by {difference:.1e}")
            found.append({"model": model, "codes": codes, "ours": ours, "plain": plain})
    after = child("rates", device=chosen.device)
    rate = {kind: max(before[kind], after[kind]) for kind in before}
    print(f"Products {rate['product'] / 1e9:,.0f} GFLOP/s (torch.mm {rate['mm'] / 1e9:,.0f}),", end=" ")
    print(f"copies {rate['copy'] / 1e9:,.1f} GB/s (read and written).\n")
    for kind, title in (("train", "training step"), ("infer", "inference")):
        print(
            f"| {title} | codes | documents/s | seconds | plain, s | times faster | GiB | plain, GiB | floor, s | of floor | GFLOP/s |"
        )
        print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        for row in found:
            ours, plain = row["ours"], row["plain"]
            moved = 10 * 4 * ours["parameters"] + 2 * ours["kept"] if kind == "train" else 4 * ours["parameters"]
            products, seconds, old = plain[f"{kind}_products"], ours[kind], plain[kind]
            floor = max(products / rate["product"], moved / rate["copy"])
            print(
                f"| {row['model']} | {row['codes']:,} | {DOCUMENTS / seconds:.1f} | {seconds:.3f} | {old:.3f} | {old / seconds:.2f} "
                f"| {ours[f'{kind}_peak']:.2f} | {plain[f'{kind}_peak']:.2f} | {floor:.3f} | {seconds / floor:.1f} | {products / seconds / 1e9:,.0f} |"
            )
        print(
            f"\nGeometric mean: {mean([row['plain'][kind] / row['ours'][kind] for row in found]):.2f} times faster.\n"
        )


def epoch_table(chosen: argparse.Namespace) -> None:
    count = chosen.documents
    lengths = realistic_lengths(count)
    print(
        f"{count} documents, {lengths.mean():,.0f} tokens on average, {lengths.sum() / (count * TOKENS):.0%} of {TOKENS:,}.\n"
    )
    print(
        "| a step of an epoch | codes | at first, s | seconds | plain, s | times faster | by longest | from batching | GPU busy |\n"
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    gains = []
    for codes in chosen.codes:
        for model in chosen.models:
            case = {
                "model": model,
                "codes": codes,
                "documents": count,
                "device": chosen.device,
                "precision": chosen.precision,
            }
            ours, plain = children("epoch", [{"way": way, **case} for way in ("ours", "plain")])
            faster, by_step = (plain[kind] / ours[kind] for kind in ("real", "longest"))
            share = f"{ours['busy']:.0%}" if ours["busy"] else ""
            gains.append(faster / by_step)
            print(
                f"| {model} | {codes:,} | {ours['first']:.3f} | {ours['real']:.3f} | {plain['real']:.3f} | {faster:.2f} | {by_step:.2f} | {gains[-1]:.2f} "
                f"| {share} |",
                flush=True,
            )
    print(f"\nGeometric mean of what batching adds: {mean(gains):.2f} times.\n")


def growth_table(chosen: argparse.Namespace) -> None:
    decades = {
        "tokens": [{"tokens": tokens, "codes": 50, "documents": 80} for tokens in (25, 250, 2500)],
        "codes": [{"tokens": 2500, "codes": codes, "documents": 80} for codes in (89, 892, 8921)],
        "documents": [{"tokens": 25, "codes": 50, "documents": count} for count in (80, 800, 8000)],
    }
    print("| one epoch | grows | documents | tokens | codes | seconds | GiB |\n|:--|:--|--:|--:|--:|--:|--:|")
    for model in chosen.growing:
        for what, cases in decades.items():
            for case in cases:
                found = child("grown", model=model, device=chosen.device, **case)
                sizes = f"{case['documents']:,} | {case['tokens']:,} | {case['codes']:,}"
                print(f"| {model} | {what} | {sizes} | {found['train']:.2f} | {found['train_peak']:.2f} |", flush=True)
    print()


def names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    neural = [name for name, entry in registry.entries().items() if name in TIMED and issubclass(entry.cls, nn.Module)]  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names, default=neural)
    parser.add_argument("--codes", type=lambda text: [int(count) for count in text.split(",")], default=[50, 8921])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--parts", type=names, default=["steps", "epoch", "growth"])
    parser.add_argument("--documents", type=int, default=256, help="documents of the epoch")
    parser.add_argument("--growing", type=names, default=["caml"], help="models of the growth table")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of ours, as train.precision; plain computes in 32 bits")
    parser.add_argument("--clock", default="perf_counter", choices=["perf_counter", "process_time"])
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(MEASURES[chosen.case["measure"]](chosen.case)))
        return
    os.environ[CLOCK] = chosen.clock
    device = fabric(chosen.device).device
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, {name}; Python {platform.python_version()}, torch {torch.__version__}\n"
    )
    if "steps" in chosen.parts:
        step_tables(chosen)
    if "epoch" in chosen.parts:
        epoch_table(chosen)
    if "growth" in chosen.parts:
        growth_table(chosen)


if __name__ == "__main__":
    main()
