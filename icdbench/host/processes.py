"""How processes end: on signals, and as workers whose parent has died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator


def terminations() -> list[signal.Signals]:
    """Return the signals that ask a process to end: SIGTERM, as from a cluster, and SIGHUP from a closed terminal."""
    hangup = getattr(signal, "SIGHUP", None)  # absent on Windows; stays ignored under nohup
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Delay signals that ask this process to end until the block, which must not be interrupted, is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, *terminations())
    handlers = {number: signal.signal(number, lambda each, _: received.append(each)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if received:
        signal.raise_signal(received[0])


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Delay signals while the block starts worker processes, so that none is left half started.

    Ctrl-C and hangup, which reach every process of a terminal, stay blocked in the workers: this process handles them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signals_wait():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *terminations()} - {signal.SIGTERM})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def heeding_signals() -> None:
    """Unblock all signals in a worker that was started in the block of `starting`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_with_parent() -> None:
    """Send SIGTERM to this worker process once its parent dies, even by kill -9; otherwise it would wait forever."""
    threading.Thread(target=_exit_with_parent, name="parent", daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
