"""What work costs on a machine: seconds and joules, with intervals, and where they go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ..primitives.interval import Interval
from ..primitives.kernels.catalogue import KERNELS
from ..primitives.work import KernelCall, Work
from ..profiles import HardwareProfile, KernelTable
from ._fit import TableFit

_Z90 = 1.6448536269514722
_SERIAL_FLOPS = 2.5e5  # fewer do not wake the threads of a BLAS
_AT_MOST_OF_PEAK = 0.5  # nominal flops of some kernels are more than what a library needs, but not twice as many
_MEMO = 8192
_MOST_LOST = 4.0  # times its own duration
_MOST_LOST_ALONE = 1.2  # the same of threads that wait for nobody: half the processors are gone


class Unpriced(LookupError):
    """Work that cannot be priced on a profile; `reason` is a sentence for the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Pool:
    """Whose threads are awake: those of one library spin on for a while when another one takes over, which loses time.

    Attributes
    ----------
    backend : str
        Of the library that computed last; empty where none has lately.
    before : str
        Of the one whose threads spin beside it; empty where none do.
    paid : float
        What `backend` has lost to `before` so far [s].
    """

    backend: str = ""
    before: str = ""
    paid: float = 0.0


ASLEEP = Pool()


@dataclass(frozen=True, slots=True)
class Price:
    """What work costs.

    Attributes
    ----------
    seconds, joules : Interval
    calls : tuple of (KernelCall, float)
        Each kernel call with the seconds that all its repeats take; what synchronizations take is in `seconds` alone.
    pool : Pool
        Whose threads are awake afterwards.
    """

    seconds: Interval
    joules: Interval
    calls: tuple[tuple[KernelCall, float], ...]
    pool: Pool = ASLEEP


def price(
    work: Work, profile: HardwareProfile, *, threads: int | None = None, device: str = "cpu", pool: Pool = ASLEEP
) -> Price:
    """Price work on a machine.

    Errors of the calls are taken as fully correlated: a machine that is slower than its profile says is slower at
    everything.

    Parameters
    ----------
    work : Work
    profile : HardwareProfile
    threads : int, optional
        Default: the largest number measured, which is what runs by default.
    device : str
    pool : Pool
        Whose threads are awake at the start.

    Raises
    ------
    Unpriced
        If a kernel was not measured on this machine, or is disabled there.
    """
    fits = _fits(_ByIdentity(profile))
    scale, energy = profile.scale, profile.energy
    losses = profile.pool_switch_seconds if device == "cpu" else {}
    seconds = low = high = joules = 0.0
    shares = []
    for call in work.calls:
        kernel, dims, dtype, backend, count = call
        each, factor, energy_of, threaded = fits.at(kernel, dims, dtype, backend, threads, device)
        each *= scale * count
        if losses and threaded and not (backend == pool.backend and not pool.before):
            lost, pool = _switch(pool, backend, each, losses)
            each += lost
        seconds += each
        low += each / factor
        high += each * factor
        joules += count * energy_of
        shares.append((call, each))
    waits = work.reductions * profile.reduction_seconds
    seconds, low, high = seconds + waits, low + waits, high + waits
    if work.spread > 1.0 and low > 0.0:  # of two causes that have nothing to do with each other
        wider = math.log(work.spread)
        low = seconds / math.exp(math.hypot(math.log(seconds / low), wider))
        high = seconds * math.exp(math.hypot(math.log(high / seconds), wider))
    idle, spread = energy.idle_watts, 1.0 + energy.relative_uncertainty
    return Price(
        Interval(seconds, low, high),
        Interval(joules + idle * seconds, (joules + idle * low) / spread, (joules + idle * high) * spread),
        tuple(shares),
        pool,
    )


def _switch(pool: Pool, backend: str, seconds: float, losses: Mapping[str, float]) -> tuple[float, Pool]:
    """What a call loses to threads that another library left spinning, and whose threads are awake after it.

    Losses stop once all that was measured is paid, and a call cannot lose more than `_MOST_LOST` times itself.
    """
    if backend == "numba":  # threads of its own end with the call, and the pool's spin on
        lost = min(_MOST_LOST_ALONE * seconds, losses.get(f"{pool.backend}>numba", 0.0))
        return lost, pool
    if backend != pool.backend:
        pool = Pool(backend, pool.backend)
    if not pool.before:
        return 0.0, pool
    left = losses.get(f"{pool.before}>{backend}", 0.0) - pool.paid
    if left <= 0.0:
        return 0.0, Pool(backend)
    lost = min(_MOST_LOST * seconds, left)
    return lost, Pool(backend, pool.before, pool.paid + lost)


def seconds_of(
    kernel: str, dims: tuple[int, ...], dtype: str, backend: str, profile: HardwareProfile, *, device: str = "cpu"
) -> Interval:
    """Seconds of one call of a kernel. Raises Unpriced like `price`."""
    known = _fits(_ByIdentity(profile)).at(kernel, dims, dtype, backend, None, device)
    return Interval.around(known.seconds * profile.scale, known.factor)


def table_fit(table: KernelTable) -> TableFit:
    """The fit of one table: for inspection."""
    return TableFit(table, KERNELS[table.kernel])


class _ByIdentity:
    """A profile as a key: hashing what it holds would take longer than pricing.

    The scale is not part of the key: copies of a profile under another scale share their tables.
    """

    __slots__ = ("kernels", "profile")

    def __init__(self, profile: HardwareProfile) -> None:
        self.profile = profile
        self.kernels = profile.kernels

    def __hash__(self) -> int:
        return id(self.kernels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.kernels is other.kernels


@lru_cache(maxsize=8)
def _fits(key: _ByIdentity) -> _Fits:
    return _Fits(key.profile)


class _Known(NamedTuple):
    """One call of a kernel: seconds, the factor from the median to either end of their interval, joules above idle,
    and whether it runs on a pool of threads."""

    seconds: float
    factor: float
    joules: float
    threaded: bool


class _Fits:
    """Fits of the tables of one profile, made when first asked for, and what they gave."""

    __slots__ = ("_by_call", "_by_key", "_peaks", "_profile")

    def __init__(self, profile: HardwareProfile) -> None:
        self._profile = profile
        self._by_key: dict[tuple[str, str, str, str, int | None], TableFit | str] = {}
        self._by_call: dict[tuple[object, ...], _Known] = {}
        self._peaks: dict[tuple[str, str], float] = {}

    def at(
        self, kernel: str, dims: tuple[int, ...], dtype: str, backend: str, threads: int | None, device: str
    ) -> _Known:
        """What one call costs."""
        key = (kernel, dims, dtype, backend, threads, device)
        known = self._by_call.get(key)
        if known is None:
            if len(self._by_call) >= _MEMO:
                self._by_call.clear()
            known = self._by_call[key] = self._known(KernelCall(kernel, dims, dtype, backend), threads, device)
        return known

    def _known(self, call: KernelCall, threads: int | None, device: str) -> _Known:
        key = (call.kernel, call.backend, call.dtype, device, threads)
        fit = self._by_key.get(key)
        if fit is None:
            fit = self._by_key[key] = self._fit(call, threads, device)
        if isinstance(fit, str):
            raise Unpriced(fit)
        seconds, sigma, flops, moved = fit(call.dims)
        peak = self._peak(call.dtype, device)
        if peak > 0.0:  # what was measured only at small shapes may extrapolate to a speed that no kernel has
            seconds = max(seconds, _AT_MOST_OF_PEAK * flops / peak)
        energy, kernel = self._profile.energy, KERNELS[call.kernel]
        per_flop = energy.joules_per_flop.get(call.dtype, max(energy.joules_per_flop.values(), default=0.0))
        alone = call.kernel == "randn" or (kernel.elementwise and call.backend != "torch")
        return _Known(
            seconds,
            math.exp(_Z90 * sigma),
            flops * per_flop + moved * energy.joules_per_byte,
            flops > _SERIAL_FLOPS and not alone,
        )

    def _peak(self, dtype: str, device: str) -> float:
        """The highest rate of a matrix product that was measured in this dtype [flop/s]; 0 where none was."""
        peak = self._peaks.get((dtype, device))
        if peak is None:
            flops = KERNELS["gemm"].flops
            tables = [t for t in self._profile.kernels if (t.kernel, t.dtype, t.device) == ("gemm", dtype, device)]
            rates = [flops(*point.dims) / point.seconds for t in tables if t.enabled for point in t.points]
            peak = self._peaks[dtype, device] = max(rates, default=0.0)
        return peak

    def _fit(self, call: KernelCall, threads: int | None, device: str) -> TableFit | str:
        where = f"{call.kernel} in {call.dtype} with {call.backend}" + (f" on {device}" if device != "cpu" else "")
        kernel = KERNELS.get(call.kernel)
        if kernel is None:
            return f"there is no kernel {call.kernel!r} in the catalogue"
        table = self._profile.table(call.kernel, call.backend, call.dtype, device, threads)
        if table is None:
            return f"{where} has not been measured on this machine"
        if not table.enabled:
            return f"{where} is disabled: {table.reason}"
        return TableFit(table, kernel)
