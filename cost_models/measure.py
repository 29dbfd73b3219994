"""Times every kernel of the catalogue on this machine, and writes down what came out as a `HardwareProfile`.

What makes the numbers worth planning with:

- each kernel is first checked against extended precision on structured operands; a wrong one is disabled;
- repeats of one point are spread over several visits, so that a disturbance does not hit them all;
- what was timed while other programs had our processors is repeated, and used only where nothing else is left;
- points are visited library by library: idle threads of one pool keep spinning and would disturb another;
- important points come first, so that a time limit cuts the least important ones.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from ..primitives.kernels._grids import ELEMENT_LIMIT
from ..primitives.kernels._operands import GaussianOperands
from ..primitives.kernels.catalogue import ITEMSIZE, KERNELS, Kernel
from ..profiles import HardwareProfile, KernelPoint, KernelTable, fingerprint
from . import _timing
from .energy import energy_model

TIME_LIMIT = {"quick": 57.0, "standard": 540.0, "thorough": 3600.0}
"""Default time limits [s]."""

_VISITS = {"quick": 3, "standard": 5, "thorough": 7}
_BURST = {"quick": 1e-3, "standard": 4e-3, "thorough": 1e-2}  # spent on one short point in one visit [s]
_REVISIT = {"quick": 0.03, "standard": 0.5, "thorough": 2.0}  # longer visits are not repeated [s]
_TIERS = (1, 3, 8)  # positions in a kernel's grid where the next tier of importance begins
_REPAIRS = 4  # more passes over what has only been timed while disturbed
_PATIENCE = 0.25  # share of the time limit that may go into waiting and retrying
_ATTEMPTS = 3  # in one visit: a kernel with more threads than processors disturbs itself
_WAIT = 0.5  # longest wait for other programs at a time [s]
_SWITCH_SHAPES = {"gemm": (1000, 1000, 1000), "sparse_sign": (100000, 100, 400, 8)}
_SWITCH_PAUSE, _SWITCH_TIMES = 0.08, 3  # [s]
_LARGE = 16 * 2**20  # arrays that malloc takes from the system and gives back every time [B]
_ABSURD = 30.0  # a reduced precision this many times slower than float32 is an emulation

Progress = Callable[[float, str], None]


@dataclass(slots=True)
class _Point:
    dims: tuple[int, ...]
    tier: int
    clean: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    visit_seconds: float = 0.0
    failed: bool = False

    @property
    def samples(self) -> list[float]:
        return self.clean or self.disturbed


@dataclass(slots=True)
class _Table:
    kernel: Kernel
    backend: str
    device: str
    dtype: str
    points: list[_Point]
    reason: str | None = None
    max_error: float | None = None

    def guess(self, dims: tuple[int, ...]) -> float:
        """A rough upper guess of one call from the points that are done; 0 when there are none [s]."""
        kernel = self.kernel
        guesses = (
            statistics.median(p.samples)
            * max(
                (kernel.flops(*dims) + 1.0) / (kernel.flops(*p.dims) + 1.0),
                kernel.elements(*dims) / kernel.elements(*p.dims),
            )
            for p in self.points
            if p.samples
        )
        return min(guesses, default=0.0)


class _Clock:
    """Time spent and left, and the patience with other programs that is left [s]."""

    def __init__(self, limit: float) -> None:
        self.start, self.limit, self.patience = time.perf_counter(), limit, _PATIENCE * limit

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        return self.limit - self.spent


def measure_profile(
    rigor: str = "quick",
    *,
    progress: Progress | None = None,
    time_limit: float | None = None,
    name: str | None = None,
    kernels: Mapping[str, Kernel] | None = None,
    backends: Iterable[str] | None = None,
) -> HardwareProfile:
    """Measure this machine.

    Parameters
    ----------
    rigor : {"quick", "standard", "thorough"}
        How many shapes, up to which size, and how many repeats.
    progress : callable (fraction, text), optional
        Called now and then with what is done, from 0 to 1, and what is being measured.
    time_limit : float [s], optional
        Default 57 s, 9 min, 1 h. What does not fit is left out, and the profile says ``complete=False``.
    name : str, optional
        Default: the processor.
    kernels : mapping of str to Kernel, optional
        Other than the whole catalogue.
    backends : iterable of str, optional
        Default: those that are installed.

    Returns
    -------
    HardwareProfile
        For the numbers of threads now in use.
    """
    if rigor not in TIME_LIMIT:
        raise ValueError(f"rigor: found {rigor!r}, choose one of {', '.join(TIME_LIMIT)}")
    clock = _Clock(TIME_LIMIT[rigor] if time_limit is None else time_limit)
    report = progress or (lambda fraction, text: None)
    report(0.0, "loading libraries")
    wanted = None if backends is None else set(backends)
    places = [place for place in installed() if wanted is None or place[0] in wanted]
    tables = _tables(KERNELS if kernels is None else kernels, places, rigor)
    _check_all(tables, report)
    collecting = gc.isenabled()
    gc.disable()
    try:
        switching = _switching(tables, report)
        complete = _visit_all(tables, places, clock, rigor, report)
        overhead = _timing.python_overhead()
    finally:
        if collecting:
            gc.enable()
    measured, here = _finished(tables), fingerprint()
    points = [point for table in tables for point in table.points if point.samples]
    noisy = sum(not point.clean for point in points)
    notes = (f"other programs were running: {noisy} of {len(points)} points were disturbed",) if noisy else ()
    report(1.0, "done")
    return HardwareProfile(
        name=name or here.processor,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rigor=rigor,  # pyright: ignore[reportArgumentType]
        seconds_spent=round(clock.spent, 3),
        complete=complete,
        fingerprint=here,
        kernels=measured,
        energy=energy_model(measured, here),
        python_overhead_seconds=overhead,
        pool_switch_seconds=switching,
        notes=notes,
    )


def installed() -> list[tuple[str, str]]:
    """(backend, device) of every library that can be used here; imports them."""
    places = [("scipy", "cpu"), ("numpy", "cpu")]
    if importlib.util.find_spec("torch"):
        import torch

        places.append(("torch", "cpu"))
        if torch.cuda.is_available():
            places.append(("torch", "cuda"))
    if importlib.util.find_spec("numba"):
        places.append(("numba", "cpu"))
    if importlib.util.find_spec("cupy"):
        import cupy  # pyright: ignore[reportMissingImports]

        if cupy.cuda.is_available():
            places.append(("cupy", "cuda"))
    return places


def threads_in_use(backend: str) -> int:
    """Threads that a backend computes with now."""
    if backend == "torch":
        import torch

        return torch.get_num_threads()
    if backend == "numba":
        import numba

        return numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    if backend == "cupy":
        return 1
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def _tables(kernels: Mapping[str, Kernel], places: list[tuple[str, str]], rigor: str) -> list[_Table]:
    import psutil

    entries = psutil.virtual_memory().available / 8 / 6  # operands, a copy, a result, LAPACK's workspace
    tables = []
    for backend, device in places:
        for kernel in kernels.values():
            if backend == "numpy" and kernel.elementwise and ("scipy", "cpu") in places:
                continue  # the same code as through scipy: measured once
            dtypes = kernel.dtypes[:1] if backend == "numpy" and kernel.double_in_numpy else kernel.dtypes
            shapes = [dims for dims in kernel.grid(rigor) if kernel.elements(*dims) < entries]
            for dtype in dtypes:
                if kernel.supports(backend, dtype):
                    points = [_Point(dims, sum(i >= t for t in _TIERS)) for i, dims in enumerate(shapes)]
                    tables.append(_Table(kernel, backend, device, dtype, points))
    return tables


def _check_all(tables: list[_Table], report: Progress) -> None:
    """Disable kernels that are wrong, fail, or run as a slow emulation. Compiles what is compiled on first use."""
    for i, table in enumerate(tables):
        kernel = table.kernel
        report(0.02 * i / len(tables), f"checking {table.backend} {kernel.name} {table.dtype}")
        try:
            error = kernel.check(table.backend, table.dtype, table.device)
            slower = _against_float32(table) if table.dtype not in ("float64", "float32") else 1.0
        except Exception as failure:
            table.reason = f"it fails on this machine: {type(failure).__name__}: {failure}"[:180]
            continue
        table.max_error = error if math.isfinite(error) else None
        allowed = kernel.tolerance(table.dtype)
        if error > allowed:
            table.reason = f"it is wrong on this machine: relative error {error:.1e}, at most {allowed:.0e} is right"
        elif slower > _ABSURD:
            table.reason = f"{table.dtype} is emulated on this machine: {slower:.0f} times slower than float32"


def _against_float32(table: _Table) -> float:
    operands = GaussianOperands(np.random.default_rng(0))
    dims = (128,) * len(table.kernel.dims)
    best = []
    for dtype in (table.dtype, "float32"):
        call = table.kernel.prepare(table.backend, dims, dtype, operands, table.device)
        call = _timing.synchronous(call, table.backend, table.device)
        call()
        first = _timing.timed(call)
        best.append(min([first, *(_timing.timed(call) for _ in range(20 if first < 0.01 else 0))]))
    return best[0] / best[1]


def _switching(tables: list[_Table], report: Progress) -> dict[str, float]:
    """What work in one library loses right after work in another, whose idle threads keep spinning [s].

    The most of a few trials: what a scheduler makes of more threads than processors varies widely.
    """
    operands = GaussianOperands(np.random.default_rng(0))
    calls: dict[str, _timing.Call] = {}
    for table in tables:
        dims = _SWITCH_SHAPES.get(table.kernel.name)
        if dims and table.reason is None and table.dtype == "float64" and table.device == "cpu":
            calls[table.backend] = table.kernel.prepare(table.backend, dims, table.dtype, operands)
    found = {}
    for backend, call in calls.items():
        report(0.02, f"switching to {backend}")

        def seconds(before: _timing.Call | None, call: _timing.Call = call) -> list[float]:
            """Of some calls, on threads that sleep or right after `before`, ascending."""
            times = []
            for _ in range(_SWITCH_TIMES):
                time.sleep(_SWITCH_PAUSE)
                if before is not None:
                    _timing.timed(before, 2)
                times.append(_timing.timed(call, 2) * 2)
            return sorted(times)

        call()
        alone = statistics.median(seconds(None))
        for other, before in calls.items():
            if other not in (backend, "numba"):
                found[f"{other}>{backend}"] = round(max(0.0, seconds(before)[-1] - alone), 4)
    return found


def _visit_all(
    tables: list[_Table], places: list[tuple[str, str]], clock: _Clock, rigor: str, report: Progress
) -> bool:
    """Time all points, most important first; whether each was timed at least once."""
    alive = [table for table in tables if table.reason is None]
    points = [(table, point) for table in alive for point in table.points]
    largest = max((table.kernel.elements(*point.dims) for table, point in points), default=1.0)
    operands = GaussianOperands(np.random.default_rng(0), int(min(largest, ELEMENT_LIMIT[rigor])))
    first = len(_TIERS) + 1  # passes that visit a point for the first time
    passes = [*range(first), *[first] * (_VISITS[rigor] - 1), *[first + 1] * _REPAIRS]
    total = (first + _VISITS[rigor] - 1) * max(1, len(points))
    done = 0
    for number in passes:
        due = [(table, point) for table, point in points if _due(point, number, first, rigor)]
        # A fair share for each library, and room for the passes to come: none may starve the others.
        unseen = sum(not point.samples for _, point in points)
        for backend, device in places:
            here = [(table, point) for table, point in due if (table.backend, table.device) == (backend, device)]
            until = clock.spent + 1.0 + 2.0 * clock.left * len(here) / max(unseen, len(due), 1)
            unseen -= sum(not point.samples for _, point in here)
            if here and clock.left > 0.3:
                _timing.settle(backend)
            for table, point in here:
                if clock.left < 0.2 + 4.0 * table.guess(point.dims) + point.visit_seconds or clock.spent > until:
                    continue
                report(0.02 + 0.97 * min(1.0, done / total), f"{backend} {table.kernel.name} {table.dtype}")
                # The first time round every point is to be seen: what was disturbed is timed again in later passes.
                _visit(table, point, operands, _BURST[rigor], clock, 1 if number < first else _ATTEMPTS)
                done += first if number < first else 1
    return all(point.samples or point.failed for _, point in points)


def _touch_memory(size: float) -> None:
    """Write to so many bytes and free them: what a virtual machine has not used lately costs it ten times as much, and
    a call that is timed once would be charged for that."""
    if size > _LARGE:
        np.ones(int(size), dtype=np.uint8)


def _due(point: _Point, number: int, first: int, rigor: str) -> bool:
    """Whether a pass visits a point: its tier's own pass, then where short, then where only disturbed."""
    if point.failed:
        return False
    if number < first:
        return point.tier == number
    if number == first:
        return not point.clean or point.visit_seconds < _REVISIT[rigor]
    return not point.clean


def _visit(
    table: _Table, point: _Point, operands: GaussianOperands, burst: float, clock: _Clock, attempts: int
) -> None:
    began = time.perf_counter()
    try:
        call = table.kernel.prepare(table.backend, point.dims, table.dtype, operands, table.device)
        call = _timing.synchronous(call, table.backend, table.device)
        if table.device == "cpu":
            _touch_memory(ITEMSIZE[table.dtype] * table.kernel.fresh(*point.dims))
        for _ in range(attempts):
            attempt = time.perf_counter()
            times, disturbed = _timing.samples(call, burst)
            (point.disturbed if disturbed else point.clean).extend(times)
            spent = time.perf_counter() - attempt
            if not disturbed or clock.patience < spent:
                break
            _timing.wait_until_idle(min(_WAIT, clock.patience))
            clock.patience -= time.perf_counter() - attempt
    except Exception as failure:  # out of memory, or LAPACK gave up: the other shapes can still be measured
        point.failed = True
        if all(p.failed for p in table.points):
            table.reason = f"it fails on this machine: {type(failure).__name__}: {failure}"[:180]
    point.visit_seconds = time.perf_counter() - began


def _finished(tables: list[_Table]) -> tuple[KernelTable, ...]:
    threads = {backend: threads_in_use(backend) for backend in {table.backend for table in tables}}
    result = []
    for table in tables:
        points = tuple(_summary(p) for p in table.points if p.samples) if table.reason is None else ()
        if table.reason is None and not points:
            continue  # the time limit cut it: a table that is missing, not one that is wrong
        measured = KernelTable(
            kernel=table.kernel.name,
            backend=table.backend,
            device=table.device,
            dtype=table.dtype,
            threads=threads[table.backend],
            points=points,
            enabled=table.reason is None,
            reason=table.reason,
            max_error=None if table.max_error is None else float(f"{table.max_error:.2g}"),
        )
        result.append(measured)
        if table.kernel.elementwise and table.backend == "scipy" and "numpy" in table.kernel.backends:
            result.append(measured.model_copy(update={"backend": "numpy"}))
        if table.kernel.double_in_numpy and table.backend == "numpy":
            result.append(measured.model_copy(update={"dtype": "float32"}))
    return tuple(result)


def _summary(point: _Point) -> KernelPoint:
    times = sorted(point.samples)
    median = max(statistics.median(times), 1e-9)  # a coarse clock may read zero
    low, high = times[len(times) // 10], times[-1 - len(times) // 10]
    return KernelPoint(
        dims=point.dims,
        seconds=float(f"{median:.4g}"),
        spread=float(f"{(high - low) / median:.2g}"),
        repeats=len(times),
    )
