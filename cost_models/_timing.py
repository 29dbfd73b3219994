"""Timing single calls, and knowing when other programs disturbed it."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..primitives.kernels import library

Call = Callable[[], object]

SETTLE = 0.05  # idle workers of OpenBLAS spin for about 30 ms before they sleep [s]


def timed(call: Call, inner: int = 1) -> float:
    """Seconds of one call, as the mean of `inner` calls."""
    began = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - began) / inner


def samples(call: Call, burst: float) -> tuple[list[float], bool]:
    """Times of a call [s] and whether they were disturbed.

    A call much shorter than `burst` [s] is repeated up to 20 times after one that is not counted; the longer it is,
    the fewer repeats it is given, and one much longer is timed once.

    Parameters
    ----------
    call : callable
    burst : float [s]
    """
    waited, began = waited_for_processor(), time.perf_counter()
    first = timed(call)
    if first > 20.0 * burst:
        times = [first]
    elif first > 5.0 * burst:
        times = [first, timed(call)]
    else:
        inner = max(1, min(50, int(2e-5 / max(first, 1e-9))))  # the clock itself costs about 0.1 microseconds
        deadline = time.perf_counter() + burst
        times = [timed(call, inner) for _ in range(3 if first < burst else 2)]
        while len(times) < 20 and time.perf_counter() < deadline:
            times.append(timed(call, inner))
    waited = waited_for_processor() - waited
    return times, waited > 2e-5 + 0.03 * (time.perf_counter() - began)


def waited_for_processor() -> float:
    """Time that the threads of this process have spent ready to run but without a processor [s]; 0 off Linux."""
    total = 0
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208  Path.iterdir takes twice as long
            total += int(Path(f"/proc/self/task/{task}/schedstat").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return total / 1e9


def wait_until_idle(limit: float) -> None:
    """Wait until nothing else is running on this machine, at most `limit` [s]; off Linux just a moment."""
    deadline = time.perf_counter() + limit
    while (left := deadline - time.perf_counter()) > 0:
        time.sleep(min(0.005, left))
        try:
            running = int(Path("/proc/loadavg").read_bytes().split()[3].split(b"/")[0])
        except (OSError, IndexError, ValueError):
            return
        if running <= 1:  # this thread itself
            return


def synchronous(call: Call, backend: str, device: str) -> Call:
    """The call, until its result is there: on a device calls return before they are done."""
    if device == "cpu":
        return call
    if backend == "torch":
        wait = sys.modules["torch"].cuda.synchronize
    else:
        wait = sys.modules["cupy"].cuda.get_current_stream().synchronize

    def finished() -> None:
        call()
        wait()

    return finished


def settle(backend: str) -> None:
    """Let the workers of other pools fall asleep, then wake those of this one."""
    time.sleep(SETTLE)
    if backend in ("scipy", "numpy", "torch"):
        lib = library(backend)
        A = lib.asarray(np.ones((300, 300)))
        for _ in range(5):
            lib.matmul(A, A)


def python_overhead() -> float:
    """Cost of one thin kernel call from Python [s]."""
    lib, A = library("scipy"), np.ones((1, 1))
    return float(f"{statistics.median(timed(lambda: lib.matmul(A, A), 50) for _ in range(9)):.3g}")
