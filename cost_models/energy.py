"""Energy: measured where a counter can be read, else modelled, and always labelled.

The ladder, best first:

measured     RAPL counters of the processor (Linux powercap, package domains), or NVML's of a GPU
calibrated   joules = idle power * seconds + joules per flop + joules per byte, fitted to counters before
tdp-model    the same form, from rated power alone (constants of codecarbon: 4 W per processor thread where the
             rating is not known, half of the rating while it is only awake, 5 W per memory module)

RAPL has been readable by root only since CVE-2020-8694, and is absent in most virtual machines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from ..primitives.interval import Interval
from ..primitives.kernels.catalogue import ITEMSIZE, KERNELS
from ..primitives.work import Work
from ..profiles import EnergyModel, Fingerprint, KernelTable
from ._fit import nonnegative_least_squares

POWERCAP = Path("/sys/class/powercap")
SHORTEST = 0.1  # a counter says nothing of a shorter run: it ticks each millisecond (RAPL) or 100 ms (NVML) [s]

_WATTS_PER_THREAD = 4.0
_AWAKE = 0.5  # share of the rating that cores draw which are awake and wait
_WATTS_PER_MODULE, _MODULE_BYTES, _LEAST_MODULES = 5.0, 64 * 2**30, 2
_TDP_UNCERTAINTY = 1.0
_FALLBACK_FLOPS = {"float64": 2e10, "float32": 4e10}  # per second, where no product was measured
_FALLBACK_BYTES = 1e10  # per second


class Counter(Protocol):
    """Something that counts joules."""

    def read(self) -> float:
        """Joules since an arbitrary beginning."""
        ...

    def between(self, before: float, after: float) -> float:
        """Joules between two readings, the counter's overflow undone."""
        ...


@dataclass(frozen=True, slots=True)
class RaplCounter:
    """One package domain of the powercap interface.

    Attributes
    ----------
    energy : Path
        The file ``energy_uj``.
    range_uj : int
        Where the counter starts again at zero [microjoules].
    """

    energy: Path
    range_uj: int

    def read(self) -> float:
        return int(self.energy.read_text()) * 1e-6

    def between(self, before: float, after: float) -> float:
        return after - before if after >= before else after - before + self.range_uj * 1e-6


@dataclass(frozen=True, slots=True)
class NvmlCounter:
    """Energy counter of one NVIDIA GPU (Volta and later)."""

    nvml: Any
    handle: Any

    def read(self) -> float:
        return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) * 1e-3

    def between(self, before: float, after: float) -> float:
        return after - before


def rapl_counters(root: Path = POWERCAP) -> tuple[RaplCounter, ...]:
    """The package domains that this user may read; empty in most virtual machines.

    Top-level domains only: cores and caches are part of their package. "psys" would count everything twice.
    """
    counters = []
    for zone in sorted(root.glob("*rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            if not (zone / "name").read_text().startswith("package"):
                continue
            counter = RaplCounter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()))
            counter.read()
        except (OSError, ValueError):
            continue
        counters.append(counter)
    return tuple(counters)


def nvml_counters() -> tuple[NvmlCounter, ...]:
    """Every GPU whose counter can be read; empty without nvidia-ml-py or a driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]

        pynvml.nvmlInit()
        counters = tuple(
            NvmlCounter(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())
        )
        for counter in counters:
            counter.read()
    except Exception:  # no driver, no rights, an old card: each raises something else
        return ()
    return counters


@dataclass(frozen=True, slots=True)
class Reading:
    """Joules of a run, and whether they were "measured" or "modelled"."""

    joules: Interval
    source: str


@cache
def _counters_of(cpu: bool) -> tuple[Counter, ...]:
    """What can be read here: looked for once in a process."""
    return rapl_counters() if cpu else nvml_counters()


class EnergyMeter:
    """Counts the energy of a block, or models it where no counter can be read.

    What a counter counts is the whole package: other programs' share is in it.

    Parameters
    ----------
    model : EnergyModel, optional
        Of the profile; used where there is no counter, or the block is too short for one.
    work : Work, optional
        What the block does: the model's flops and bytes.
    device : str
        Beside the processor, on a device that is not "cpu" the GPU counters are read.
    counters : sequence of Counter, optional
        Default: those that can be read here.

    Attributes
    ----------
    reading : Reading or None
        Once the block is left; None where there is neither a counter nor a model.
    """

    __slots__ = ("_before", "_began", "_counters", "_model", "_work", "reading")

    def __init__(
        self,
        model: EnergyModel | None = None,
        work: Work | None = None,
        *,
        device: str = "cpu",
        counters: Sequence[Counter] | None = None,
    ) -> None:
        self._model, self._work = model, work
        if counters is None:
            counters = _counters_of(device == "cpu")
        self._counters = tuple(counters)
        self._before: tuple[float, ...] = ()
        self._began = 0.0
        self.reading: Reading | None = None

    def __enter__(self) -> EnergyMeter:
        self.reading = None
        self._before = _read(self._counters)
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._began
        after = _read(self._counters) if self._before else ()
        if after and seconds >= SHORTEST:
            pairs = zip(self._counters, self._before, after, strict=True)
            joules = sum(counter.between(x, y) for counter, x, y in pairs)
            if joules > 0.0:  # a counter that stands still measures nothing
                self.reading = Reading(Interval.exact(joules), "measured")
                return
        if self._model is not None:
            self.reading = Reading(modelled(self._model, seconds, self._work), "modelled")


def _read(counters: Sequence[Counter]) -> tuple[float, ...]:
    """All counters, or none if one cannot be read any more."""
    try:
        return tuple(counter.read() for counter in counters)
    except Exception:  # OSError, ValueError, NVMLError: no reading is no measurement
        return ()


def modelled(model: EnergyModel, seconds: float, work: Work | None = None) -> Interval:
    """Joules that the model gives to a run of `seconds` [s] that did `work`."""
    flops, moved = totals(work) if work is not None else ({}, 0.0)
    other = max(model.joules_per_flop.values(), default=0.0)
    joules = seconds * model.idle_watts + moved * model.joules_per_byte
    joules += sum(count * model.joules_per_flop.get(dtype, other) for dtype, count in flops.items())
    return Interval.around(joules, 1.0 + model.relative_uncertainty)


def totals(work: Work) -> tuple[dict[str, float], float]:
    """Flops by dtype, and bytes moved, of all calls."""
    flops: dict[str, float] = {}
    moved = 0.0
    for call in work.calls:
        kernel = KERNELS[call.kernel]
        flops[call.dtype] = flops.get(call.dtype, 0.0) + call.count * kernel.flops(*call.dims)
        moved += call.count * kernel.bytes_moved(*call.dims, itemsize=ITEMSIZE[call.dtype])
    return flops, moved


@dataclass(frozen=True, slots=True)
class Sample:
    """One run that a counter has measured."""

    seconds: float
    joules: float
    flops: Mapping[str, float]
    bytes: float


def calibrated(samples: Iterable[Sample], source: str = "calibrated") -> EnergyModel:
    """The model with non-negative coefficients that fits measured runs best, in relative error.

    Parameters
    ----------
    samples : iterable of Sample
        Of different kinds: idle, products in each dtype, copies.
    source : {"measured", "calibrated"}
        Whether the runs were measured on the machine that is described.

    Raises
    ------
    ValueError
        Without a sample.
    """
    runs = list(samples)
    if not runs:
        raise ValueError("samples: none given, at least one measured run is needed")
    dtypes = sorted({dtype for run in runs for dtype in run.flops})
    X = np.array([[r.seconds, r.bytes, *(r.flops.get(d, 0.0) for d in dtypes)] for r in runs])
    joules = np.array([r.joules for r in runs])
    scale = np.maximum(X.max(axis=0), 1e-300)
    c = nonnegative_least_squares(X / scale / joules[:, None]) / scale
    off = np.abs(X @ c / joules - 1.0)
    return EnergyModel(
        source=source,  # pyright: ignore[reportArgumentType]
        idle_watts=float(c[0]),
        joules_per_flop={dtype: float(x) for dtype, x in zip(dtypes, c[2:], strict=True)},
        joules_per_byte=float(c[1]),
        relative_uncertainty=max(0.1, 2.0 * float(np.sqrt(np.mean(off**2)))),
    )


def energy_model(
    tables: Iterable[KernelTable],
    here: Fingerprint,
    *,
    counters: Sequence[Counter] | None = None,
    carried_over: EnergyModel | None = None,
) -> EnergyModel:
    """The best rung of the ladder for this machine.

    Parameters
    ----------
    tables : iterable of KernelTable
        Measured here: peak rates turn rated power into joules per flop and per byte.
    here : Fingerprint
    counters : sequence of Counter, optional
        Default: RAPL where readable. With one, idling and a few products are measured (about two seconds).
    carried_over : EnergyModel, optional
        A model fitted on a machine with this processor and a counter.
    """
    counters = rapl_counters() if counters is None else tuple(counters)
    if counters:
        runs = _measured_runs(counters)
        if runs:
            return calibrated(runs, "measured")
    if carried_over is not None and carried_over.source != "tdp-model":
        return carried_over.model_copy(update={"source": "calibrated"})
    return tdp_model(tables, here)


def _measured_runs(counters: Sequence[Counter]) -> list[Sample]:
    A, x = np.ones((700, 700)), np.ones(4_000_000)
    B = A.astype(np.float32)
    n = 2.0 * 700**3
    jobs = (
        (lambda: time.sleep(0.01), {}, 0.0),
        (lambda: A @ A, {"float64": n}, 24.0 * 700**2),
        (lambda: B @ B, {"float32": n}, 12.0 * 700**2),
        (lambda: x.copy(), {}, 16.0 * x.size),
    )
    runs = []
    for job, flops, moved in jobs:
        with EnergyMeter(counters=counters) as meter:
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < 5.0 * SHORTEST:
                job()
                count += 1
            seconds = time.perf_counter() - began
        if meter.reading is not None:
            done = {dtype: count * each for dtype, each in flops.items()}
            runs.append(Sample(seconds, meter.reading.joules.median, done, count * moved))
    return runs


def tdp_model(tables: Iterable[KernelTable], here: Fingerprint) -> EnergyModel:
    """Rated power times utilisation: half of it while cores are awake, the rest at their peak rate.

    Here `idle_watts` includes the share of cores that are awake and wait: in a run that is what they do between
    operations, whoever else the machine serves.
    """
    rated = _WATTS_PER_THREAD * here.usable_cores
    modules = max(_LEAST_MODULES, math.ceil(here.memory_bytes / _MODULE_BYTES))
    flops, bandwidth = dict(_FALLBACK_FLOPS), 0.0
    for table in tables:
        if not table.enabled or table.device != "cpu":
            continue
        kernel, itemsize = KERNELS.get(table.kernel), ITEMSIZE.get(table.dtype)
        if kernel is None or itemsize is None:
            continue
        for point in table.points:
            if table.kernel == "gemm":
                rate = kernel.flops(*point.dims) / point.seconds
                flops[table.dtype] = max(flops.get(table.dtype, 0.0), rate)
            elif table.kernel in ("copy", "stream") and itemsize * kernel.elements(*point.dims) > 32 * 2**20:
                rate = kernel.bytes_moved(*point.dims, itemsize=itemsize) / point.seconds
                bandwidth = max(bandwidth, rate)
    active = (1.0 - _AWAKE) * rated
    return EnergyModel(
        source="tdp-model",
        idle_watts=_AWAKE * rated + _WATTS_PER_MODULE * modules,
        joules_per_flop={dtype: float(f"{active / rate:.3g}") for dtype, rate in flops.items()},
        joules_per_byte=float(f"{active / (bandwidth or _FALLBACK_BYTES):.3g}"),
        relative_uncertainty=_TDP_UNCERTAINTY,
    )
