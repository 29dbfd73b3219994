"""Randomized SVD with power steps, and with a growing range when the rank is not given.

Y = (A A')^q A Omega with l = rank + oversampling Gaussian columns, orthonormalized at every step; Q = orth(Y);
B = Q'A = (Z R)'; the SVD of the small R gives the triplets. 2 (q + 1) products with l columns. Without power steps it
is what the range probe has already done; each power step continues from there.

Without a rank, l comes from the forecast spectrum, and the range grows by deflated blocks (randQB_EI) until what is
left meets the target; then the smallest sufficient rank is kept.

dtype "float32" on float64 operands: the products of the power steps run in float32, the last one (B) in float64, so
that the result is accurate to float64 within a range whose directions are accurate to float32 relative to sigma_1.

Guarantee: within a few per cent of the predicted error (`range_finder_theory`); E||A - QQ'A||_F^2 <=
(1 + k/(l-k-1)) ||A - A_k||_F^2.

References: Halko, Martinsson, Tropp, SIAM Rev. 53 (2011), algorithms 4.4 and 5.1; Yu, Gu, Li, SIAM J. Matrix Anal.
Appl. 39 (2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..range_finder_theory import range_error
from ..stopping import stop_asked
from ..task import UNIT_ROUNDOFF, Task
from ..tuning import DEFAULT
from ..work import Calls, KernelCall, Work
from . import _shared as shared
from .range_basis import extend, find, power_step, products, triplets, with_residual

Array = Any

# Measured over ten kinds of spectra: the excess goes like a ratio of singular values to the power 4 q + 2.
_SPREAD = ((2.5, 1.4), (3.0, 2.0), (5.0, 3.2), (8.0, 6.0))
MOST = 0.5  # of min(m, n): with more columns nothing is left to compress


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the randomized SVD.

    Attributes
    ----------
    power_steps : int
        q, 0 to 3.
    oversampling : int
        Columns beyond the rank.
    dtype : str
        Of the products in the power steps.
    backend : str
    """

    power_steps: int = 1
    oversampling: int = DEFAULT.oversampling
    dtype: str = "float64"
    backend: str = "scipy"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """q = 0 .. 3 in the operands' dtype; float32 products where the target is loose."""
    extra = task.tuning.oversampling
    for backend in backends_for(task, ("scipy", "torch")):  # numpy's pool has the same kernels as SciPy's, fewer
        for q in range(4):
            yield Options(q, extra, task.dtype, backend)
        if task.dtype == "float64" and task.target > 1e-5:
            for q in (1, 2):
                yield Options(q, extra, "float32", backend)


def columns(task: Task, evidence: Evidence, options: Options) -> int:
    """l: how many columns the range will have."""
    return _columns(task, evidence, options.power_steps, options.oversampling)


@lru_cache(maxsize=64)
def _columns(task: Task, evidence: Evidence, power_steps: int, oversampling: int) -> int:
    size = min(task.m, task.n)
    rank = shared.expected_rank(task, evidence, task.dtype)
    if task.rank is not None:
        return min(size, max(rank + oversampling, len(evidence.singular_values)))
    spectrum = shared.spectrum_of(task, evidence)
    allowed = (0.97 * shared.safety(task.target, task.dtype) * task.target) ** 2 * spectrum.total
    low, high = rank, min(size, 2 * rank + 50)
    if range_error(spectrum, high, power_steps) > allowed:
        return size
    while high - low > 1 + low // 100:
        middle = (low + high) // 2
        if range_error(spectrum, middle, power_steps) <= allowed:
            high = middle
        else:
            low = middle
    return min(size, max(math.ceil(1.03 * high) + 5, len(evidence.singular_values)))


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """None, or why not."""
    size = min(task.m, task.n)
    l = columns(task, evidence, options)
    if l > MOST * size:
        if task.rank is not None:
            return f"rank {task.rank} of {size}: nothing is left to compress"
        return f"more than half of the {size} directions would be needed for an error of {task.target:.1e}"
    if task.rank is None and task.target < 4.0 * shared.floor(task, task.dtype):
        return f"an error of {task.target:.1e} is below what rounding leaves ({shared.floor(task, task.dtype):.1e})"
    if options.dtype == "float32" and task.dtype == "float64":
        if options.power_steps == 0:
            return "without power steps there is nothing for float32 to do"
        if task.rank is None and task.target < 1e-5:
            return f"float32 products resolve 1e-6 of the largest singular value, and the target is {task.target:.1e}"
    if task.rank is None:
        rank = shared.expected_rank(task, evidence, task.dtype)
        if l > 1.15 * rank + 10 and options.power_steps == 0:
            return f"without power steps it would return rank {l} or so where {rank} is enough"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """2 (q + 1) products with l columns, less what the probe has done, and orthonormalizations."""
    m, n = shared.shape(task)
    l = columns(task, evidence, options)
    k = Calls(options.backend, task.dtype)
    low = Calls(options.backend, options.dtype)
    householder = shared.ill_conditioned(task, evidence, l, task.dtype)
    had = len(evidence.singular_values) if shared.known(evidence) else 0
    calls: list[KernelCall] = [*shared.means_calls(k, task)]
    new = l - had
    if new > 0:
        calls += [KernelCall("randn", (n, new), task.dtype, "numpy"), k("gemm", m, new, n), k("gemm", n, new, m)]
        if had:
            calls += shared.against_calls(k, m, new, had, householder)
            calls += shared.against_calls(k, n, new, had, householder)
        else:
            calls += shared.orthonormalize_calls(k, m, l, householder)
            calls += shared.orthonormalize_calls(k, n, l, householder)
    if evidence.norm_fro is None:
        calls.append(k("stream", task.m, task.n))
    mixed = options.dtype != task.dtype and options.power_steps > 0
    if mixed:
        calls.append(low("cast", task.m, task.n))
    for step in range(options.power_steps):
        calls.append(low("gemm", m, l, n))
        calls += shared.orthonormalize_calls(low, m, l, householder)
        final = step == options.power_steps - 1
        if mixed and final:
            calls += shared.orthonormalize_calls(k, m, l)
        calls.append((k if final else low)("gemm", n, l, m))
        calls += shared.orthonormalize_calls(k if final else low, n, l, householder)
    rank = min(l, shared.expected_rank(task, evidence, task.dtype))
    calls += [k("gesdd", l, l), k("gemm", m, rank, l), k("gemm", n, rank, l)]
    if task.rank is None and task.target**2 < (1e-9 if task.dtype == "float64" else 1e-3):
        calls += [k("gemm", m, 8, n), k("gemm", l, 8, m), k("gemm", m, 8, l)]
    peak = shared.range_bytes(task, evidence, options.backend, l, options.power_steps, rank)
    if mixed:
        peak += 1.1 * shared.entries(options.dtype, m * n, (2 * m + n) * l)
    return Work(tuple(calls), peak)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The fixed-point prediction on the expected spectrum."""
    l = columns(task, evidence, options)
    rounding = shared.floor(task, task.dtype)
    if options.dtype != task.dtype:
        rounding = UNIT_ROUNDOFF[options.dtype] * math.sqrt(l)
    if task.rank is None:
        return shared.metric(task, evidence, 0.0, rounding, (1.0, 1.0))
    spectrum = shared.spectrum_of(task, evidence)
    squared = range_error(spectrum, l, options.power_steps, task.rank)
    return shared.metric(task, evidence, squared, rounding, _SPREAD[options.power_steps])


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(U, s, Vh): the leading singular triplets of A, or of A minus its column means."""
    P = products(A, options.backend, task.center, transposed=task.m < task.n)
    lib, size = P.lib, min(task.m, task.n)
    l, q = columns(task, evidence, options), options.power_steps
    found = shared.reused_range(reuse, task, P)
    if found is None:
        found = find(P, l, task.seed, P.norm_fro(evidence.norm_fro))
    elif found.columns < l:
        found = extend(P, found, l - found.columns)
    low = P.astype(options.dtype) if found.power_steps < q else P
    for step in range(found.power_steps, q):
        found = power_step(low, found, P if low is not P and step == q - 1 else None)
    del low
    if task.rank is not None:
        small = lib.svd(found.R.T)
        rank = min(task.rank, found.columns)
    else:
        target = task.target * shared.safety(task.target, task.dtype)
        while True:
            found = with_residual(P, found)
            small = lib.svd(found.R.T)
            chosen = shared.choose_rank(lib.to_numpy(small[1]), found.residual_energy, found.norm_fro, target)
            if chosen is None and stop_asked():
                chosen = found.columns
            if chosen is not None:
                break
            more = shared.columns_missing(lib.to_numpy(small[1]), found, target)
            if found.columns + more > (MOST + 0.1) * size:
                raise Breakdown(shared.too_much(found, more))
            found = extend(P, found, more)
        rank = chosen
    details: dict[str, float | int | str] = {"columns": found.columns, "power_steps": found.power_steps, "rank": rank}
    return Outcome(triplets(lib, found, small, rank), shared.by_products(found), details)


ALGORITHM = Algorithm(
    "low_rank",
    "randomized_svd",
    "randomized SVD",
    "Halko, Martinsson, Tropp (2011), algorithms 4.4 and 5.1",
    options,
    applies,
    work,
    error,
    solve,
    randomized=True,
)
