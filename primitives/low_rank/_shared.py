"""What the low-rank algorithms share: the expected spectrum, the choice of a rank, and forecasts of the metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..evidence import Evidence
from ..interval import Interval
from ..range_finder_theory import Spectrum, spectrum_from_leading
from ..task import ITEMSIZE, UNIT_ROUNDOFF, Task
from ..work import Calls, KernelCall
from .range_basis import Products, Range

Array = Any

_SAFETY = 0.999  # of the target, kept when a rank is chosen
_SAFETY_FINE = 0.7  # below what ||A||^2 - ||B||^2 resolves, where a certificate has to sample


def shape(task: Task) -> tuple[int, int]:
    """Shape of the matrix as the range finders see it, which is never wide."""
    return max(task.m, task.n), min(task.m, task.n)


@lru_cache(maxsize=32)
def _prior(size: int) -> Spectrum:
    """With no evidence: singular values falling like j^-0.7."""
    values = np.arange(1, min(size, 64) + 1) ** -0.7
    rest = np.arange(min(size, 64) + 1, size + 1) ** -1.4
    return Spectrum.from_leading(tuple(values.tolist()), float(rest.sum()), size)


def known(evidence: Evidence) -> bool:
    """Whether a probe has looked at the spectrum."""
    return bool(evidence.singular_values) and evidence.tail_energy is not None


def spectrum_of(task: Task, evidence: Evidence) -> Spectrum:
    """The expected singular spectrum of the (centred) matrix."""
    size = min(task.m, task.n)
    if not known(evidence):
        return _prior(size)
    return spectrum_from_leading(evidence.singular_values[:size], max(evidence.tail_energy or 0.0, 0.0), size)


@lru_cache(maxsize=64)  # each candidate asks several times
def expected_rank(task: Task, evidence: Evidence, dtype: str) -> int:
    """The rank asked for, or the smallest that is expected to meet the target."""
    if task.rank is not None:
        return min(task.rank, task.m, task.n)
    spectrum = spectrum_of(task, evidence)
    target = task.target * safety(task.target, dtype)
    return max(1, spectrum.smallest_rank(target**2 * spectrum.total))


def safety(target: float, dtype: str) -> float:
    """What part of the target to spend when a rank is chosen."""
    return _SAFETY if target > 10.0 * math.sqrt(UNIT_ROUNDOFF[dtype]) else _SAFETY_FINE


def choose_rank(s: np.ndarray, residual_energy: float, norm_fro: float, target: float) -> int | None:
    """Smallest rank, at least 1, that leaves at most `target` ||A||_F; None when all of `s` leaves more.

    Parameters
    ----------
    s : (l,) array
        Singular values within the range, descending.
    residual_energy : float
        Squared Frobenius norm of what lies outside.
    """
    after = residual_energy + np.append(np.cumsum((s.astype(float) ** 2)[::-1])[::-1], 0.0)
    enough = np.flatnonzero(after <= (target * norm_fro) ** 2)
    return max(1, int(enough[0])) if len(enough) else None


def columns_missing(s: np.ndarray, found: Range, target: float) -> int:
    """How many more columns the range needs at least: what it misses has singular values below those it has found."""
    typical = float(s[int(0.8 * (len(s) - 1))])
    over = found.residual_energy - (target * found.norm_fro) ** 2
    fewest = over / typical**2 if over > 0 and typical > 0 else 0.0
    return int(min(max(10.0, 0.15 * len(s), 1.1 * fewest), 1e9))


def floor(task: Task, dtype: str) -> float:
    """Relative Frobenius error that rounding leaves in a computed decomposition."""
    return 2.0 * UNIT_ROUNDOFF[dtype] * math.sqrt(min(task.m, task.n) + 10.0)


def metric(
    task: Task, evidence: Evidence, squared_error: float, rounding: float, spread: tuple[float, float]
) -> Interval:
    """The kind's default metric from a predicted squared error after truncation to the rank.

    Parameters
    ----------
    squared_error : float
        In the units of the expected spectrum.
    rounding : float
        Relative error that rounding adds, of ||A||_F.
    spread : (float, float)
        Factors from the median to the ends of the interval; four times wider where no probe has looked at the
        spectrum. An excess below 0.003 is not told apart from none.
    """
    if task.rank is None:  # the algorithms choose the rank that meets the target
        return Interval(0.93 * task.target, 0.5 * task.target, task.target)
    spectrum = spectrum_of(task, evidence)
    best = spectrum.tail(task.rank)
    below, above = spread if known(evidence) else (4.0 * spread[0], 4.0 * spread[1])
    # Below `exact` ||A||_F nothing is better than rounding, and an error there counts as the best.
    exact = (6.0 * task.unit_roundoff) ** 2 * min(task.m, task.n) * spectrum.total
    noise = rounding**2 * spectrum.total

    def excess(squared: float) -> float:
        return math.sqrt(max(squared / max(best, exact, 1e-300), 1.0)) - 1.0

    method, rounded = excess(squared_error), excess(best + noise)
    return Interval(method + rounded, max(method / below - 0.003, 0.0), method * above + 10.0 * rounded + 1e-12)


def reused_range(reuse: Mapping[str, Any], task: Task, products: Products) -> Range | None:
    """The by-product "range" when it fits this matrix and library, converted without a copy."""
    found = reuse.get("range")
    if not isinstance(found, Range) or found.transposed != products.transposed:
        return None
    m, n = products.shape
    if found.Q.shape[0] != m or found.Z.shape[0] != n:
        return None
    lib = products.lib
    Q, Z, R = (lib.asarray(part, products.dtype) for part in (found.Q, found.Z, found.R))
    return replace(found, Q=Q, Z=Z, R=R, backend=lib.name)


def orthonormalize_calls(k: Calls, rows: int, l: int, householder: bool = False) -> tuple[KernelCall, ...]:
    """What `range_basis.orthonormalize` asks for; `householder` when Cholesky QR is expected to break down."""
    if householder:
        return (k("syrk", rows, l), k("potrf", l), k("qr", rows, l))
    return (k("syrk", rows, l, count=2), k("potrf", l, count=2), k("trsm_right", rows, l, count=2))


def against_calls(k: Calls, rows: int, b: int, held: int, householder: bool = False) -> tuple[KernelCall, ...]:
    """What `range_basis.orthonormalize_against` asks for, with `held` columns to be orthogonal to."""
    project = (k("gemm", held, b, rows, count=3), k("gemm", rows, b, held, count=2))
    return project + orthonormalize_calls(k, rows, b, householder)


def means_calls(k: Calls, task: Task) -> tuple[KernelCall, ...]:
    """Column means and the norm of the centred matrix."""
    return (k("gemv_t", task.m, task.n),) if task.center else ()


def ill_conditioned(task: Task, evidence: Evidence, l: int, dtype: str) -> bool:
    """Whether the l-th singular value is so small that Cholesky QR of the products is expected to break down."""
    spectrum = spectrum_of(task, evidence)
    return spectrum.value(l) < 3.0 * math.sqrt(UNIT_ROUNDOFF[dtype] * l) * spectrum.value(1)


def entries(dtype: str, *counts: float) -> float:
    """Bytes of so many entries."""
    return ITEMSIZE[dtype] * float(sum(counts))


def copies(backend: str, dtype: str) -> float:
    """Blocks alive at the peak of an orthonormalization, the input included: numpy has no triangular solve of its own
    and computes float32 in float64."""
    return {"numpy": 4.5 if dtype == "float64" else 9.0, "torch": 7.0}.get(backend, 3.3)


def peak(dtype: str, *counts: float) -> float:
    """Bytes of so many entries at a peak, with what the allocator and the BLAS keep besides."""
    return 1.2 * entries(dtype, *counts) + 1_500_000


def range_bytes(task: Task, evidence: Evidence, backend: str, l: int, passes: int, rank: int) -> float:
    """Peak of finding a range of l columns, `passes` power steps and `rank` triplets, the probe's range included."""
    m, n = shape(task)
    c = copies(backend, task.dtype)
    had = len(evidence.singular_values) if known(evidence) else 0
    center = 2 * (m + n) * l if task.center else 0
    during = max(c * m * l, m * l + c * n * l + center)
    if 0 < had < l:
        during = (m + n) * l + max((c + 1) * m, m + (c + 1) * n) * (l - had) + center
    older = (m + n) * had
    if passes:
        fresh = had != l
        current = (m + n) * l if fresh or passes > 1 else 0
        during = max(during, current + max(c * m * l, m * l + c * n * l + center))
    result = (m + n) * (l + rank) + 8 * l * l
    return peak(task.dtype, older + max(during, result) + 3 * l * l + 4 * (m + n))


def by_products(found: Range) -> dict[str, Any]:
    """What a certificate or another candidate may reuse."""
    return {"range": found, "range_basis": found.Q}


def too_much(found: Range, more: int) -> str:
    """Why a range stops growing."""
    left = math.sqrt(max(found.residual_energy, 0.0)) / found.norm_fro
    size = min(found.Q.shape[0], found.Z.shape[0])
    needed = f"about {more} more" if found.columns + more < size else "nearly all"
    return f"{found.columns} columns leave {left:.1e} of ||A||, and {needed} would be needed"
