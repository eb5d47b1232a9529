"""Processes beside this one: one thread each, deaf to Ctrl-C, and gone when this one is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from privet.errors import RunError, SpecError

CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def pool(jobs: int, begin: Callable[..., None], *given: Any) -> Iterator[ProcessPoolExecutor]:
    """So many processes, each of which calls `begin(*given)` first. Whatever goes wrong in here ends them at once;
    RunError where one of them ended by itself. Submit under `deaf()`: that is when they start."""
    made = ProcessPoolExecutor(jobs, mp_context=CONTEXT, initializer=_start, initargs=(begin, given))
    try:
        yield made
    except BaseException as problem:
        made.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        made.shutdown(wait=True)
        if isinstance(problem, BrokenProcessPool):
            raise RunError(
                "a worker process ended without a word, usually for want of memory; "
                "run the same command with --jobs 1, what is finished is kept"
            ) from problem
        raise
    made.shutdown()


def each(jobs: int, function: Callable[[Any], Any], given: Sequence[Any]) -> list[Any]:
    """`function`, which stands at the top of a module, of everything that is given, in that order; so many at the same
    time, each in a process of its own. What it returns holds no tensors: their memory would end with that process."""
    count = min(wanted(jobs), len(given))
    if count <= 1:
        return [function(one) for one in given]
    with pool(count, _nothing) as processes:
        with deaf():
            waiting = [processes.submit(function, one) for one in given]
        return [future.result() for future in waiting]


def wanted(jobs: int) -> int:
    """How many processes `--jobs` asks for: 0 is one for each core; one inside a process that may have none. SpecError
    below 0."""
    if jobs < 0:
        raise SpecError(f"--jobs must be 0 (all cores) or more, got {jobs}")
    return 1 if multiprocessing.current_process().daemon else jobs or os.cpu_count() or 1


@contextmanager
def deaf() -> Iterator[None]:
    """This process hears of Ctrl-C at the end, so that nothing is left half written and no worker half told what to do;
    workers that start in here never hear of it, not even while they import."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what workers inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if pressed:
        raise KeyboardInterrupt


def _nothing() -> None:
    """What a process does first that has nothing to prepare."""


def _start(begin: Callable[..., None], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    begin(*given)


def _leave_with(parent: int) -> None:
    """End with the process that started this one, however that ended: a worker without it computes for nobody."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
