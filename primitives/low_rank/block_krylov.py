"""Block Krylov: Rayleigh-Ritz on span[A Omega, A A' A Omega, ..., (A A')^t A Omega].

Block Golub-Kahan bidiagonalization with full orthogonalization on both sides: Q_0 = orth(A Omega), then alternately
Z_i = orth(A'Q_i) and Q_{i+1} = orth(A Z_i). All of A'[Q_0 .. Q_t] = [Z_0 .. Z_t] R is at hand at the end, and the SVD
of R gives the triplets: 2 (t + 1) products with b columns buy b (t + 1) dimensions, so that it is more accurate than
power steps for the same products; the price is (m + n) l^2 flops of orthogonalization, l = b (t + 1).

Without a rank, blocks are added until what is left meets the target.

Guarantee: at least as good as the best polynomial of degree t, so of power steps; (1 + eps) of the best error after
about log(n) / sqrt(eps) blocks whatever the gaps.

References: Musco, Musco, NeurIPS 2015; Chen et al., "Does block size matter in randomized block Krylov low-rank
approximation?" (2025).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..range_finder_theory import krylov_error
from ..stopping import stop_asked
from ..task import Task
from ..work import Calls, KernelCall, Work
from . import _shared as shared
from .range_basis import (
    Products,
    Range,
    append,
    find,
    orthonormalize_against,
    products,
    triplets,
    with_residual,
)

Array = Any

MOST = 0.6  # of min(m, n)
NARROW = 3.0  # how much more than predicted is left by blocks narrower than the rank
BLIND = 0.25  # the same where nobody has looked at the spectrum: from there the Gram matrix is about as fast


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the block Krylov method.

    Attributes
    ----------
    block : int
        b; 0 for as many columns as the rank and the oversampling (without a rank: what the probe used).
    steps : int
        t, blocks after the first; without a rank, how many are expected.
    dtype, backend : str
    """

    block: int = 0
    steps: int = 1
    dtype: str = "float64"
    backend: str = "scipy"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One and two further blocks of full width, or several of about a third of the rank."""
    for backend in backends_for(task, ("scipy", "torch")):  # numpy's pool has the same kernels as SciPy's, fewer
        if task.rank is None:
            yield Options(dtype=task.dtype, backend=backend)
            continue
        yield Options(steps=1, dtype=task.dtype, backend=backend)
        yield Options(steps=2, dtype=task.dtype, backend=backend)
        if task.rank >= 12 and not shared.known(evidence):
            narrow = max(8, math.ceil(task.rank * task.tuning.krylov_width))
            yield Options(block=narrow, steps=task.tuning.krylov_steps, dtype=task.dtype, backend=backend)
        if task.rank <= 40:
            yield Options(steps=5, dtype=task.dtype, backend=backend)


def plan(task: Task, evidence: Evidence, options: Options) -> tuple[int, int]:
    """(b, t) as they will be."""
    size = min(task.m, task.n)
    had = len(evidence.singular_values) if shared.known(evidence) else 0
    if task.rank is not None:
        b = options.block or max(min(task.rank, size) + task.tuning.oversampling, had)
        return min(b, size), options.steps
    b = had or max(10, math.ceil(0.025 * size))
    spectrum = shared.spectrum_of(task, evidence)
    allowed = (0.97 * shared.safety(task.target, task.dtype) * task.target) ** 2 * spectrum.total
    t = max(0, math.ceil(shared.expected_rank(task, evidence, task.dtype) / b) - 1)
    while b * (t + 1) < size and krylov_error(spectrum, b, t) > allowed and t < 60:
        t += 1
    return min(b, size), t


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """None, or why not."""
    size = min(task.m, task.n)
    b, t = plan(task, evidence, options)
    l = b * (t + 1)
    if l > MOST * size:
        if task.rank is not None:
            return (
                f"a Krylov space of {l} dimensions is too much of {size} for rank {task.rank} to be worth compressing"
            )
        return f"about {min(l, size)} of the {size} directions would be needed for an error of {task.target:.1e}"
    if task.rank is None and task.target < 4.0 * shared.floor(task, task.dtype):
        return f"an error of {task.target:.1e} is below what rounding leaves ({shared.floor(task, task.dtype):.1e})"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """2 (t + 1) products with b columns, less the probe's two, and full orthogonalization."""
    m, n = shared.shape(task)
    b, t = plan(task, evidence, options)
    l = b * (t + 1)
    k = Calls(options.backend, task.dtype)
    calls: list[KernelCall] = [*shared.means_calls(k, task)]
    if not (shared.known(evidence) and len(evidence.singular_values) == b):
        calls += [KernelCall("randn", (n, b), task.dtype, "numpy"), k("gemm", m, b, n), k("gemm", n, b, m)]
        calls += [*shared.orthonormalize_calls(k, m, b), *shared.orthonormalize_calls(k, n, b)]
    if evidence.norm_fro is None:
        calls.append(k("stream", task.m, task.n))
    for step in range(1, t + 1):
        calls += [k("gemm", m, b, n), k("gemm", n, b, m)]
        calls += [*shared.against_calls(k, m, b, b * step), *shared.against_calls(k, n, b, b * step)]
    rank = min(l, shared.expected_rank(task, evidence, task.dtype))
    svds = 1 if task.rank is not None else max(1, t - 1)
    calls += [k("gesdd", l, l, count=svds), k("gemm", m, rank, l), k("gemm", n, rank, l)]
    c = shared.copies(options.backend, task.dtype) + 2
    had = len(evidence.singular_values) if shared.known(evidence) else 0
    old = (m + n) * (l - b)
    blocks = max(c * m, m + c * n + (2 * (m + n) if task.center else 0), (m + n) * (t + 2)) * b
    result = (m + n) * (l + rank) + 8 * l * l
    held = (m + n) * had + max(old + blocks, result) + 3 * l * l + 4 * (m + n)
    return Work(tuple(calls), shared.peak(task.dtype, held))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The best polynomial's prediction, halved for each step: measured, a space being better than one polynomial.

    Blocks narrower than the rank are another matter where nobody has looked at the spectrum: of slowly falling values
    they find less than predicted, and what is beyond them proves less.
    """
    rounding = shared.floor(task, task.dtype)
    if task.rank is None:
        return shared.metric(task, evidence, 0.0, rounding, (1.0, 1.0))
    b, t = plan(task, evidence, options)
    spectrum = shared.spectrum_of(task, evidence)
    best = spectrum.tail(task.rank)
    squared = best + 0.5**t * (krylov_error(spectrum, b, t, task.rank) - best)
    found = shared.metric(task, evidence, squared, rounding, (10.0 * 2.0**t, min(3.0**t, 10.0)))
    if b >= task.rank or shared.known(evidence):
        return found
    return Interval(NARROW * found.median, found.low, 4.0 * NARROW * found.high)


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(U, s, Vh): the leading singular triplets of A, or of A minus its column means."""
    P = products(A, options.backend, task.center, transposed=task.m < task.n)
    lib, size = P.lib, min(task.m, task.n)
    block, steps = plan(task, evidence, options)
    found = shared.reused_range(reuse, task, P) if options.block == 0 else None
    if found is None:
        found = find(P, block, task.seed, P.norm_fro(evidence.norm_fro))
    width = found.columns
    found, done = replace(found, power_steps=-1), 0
    if task.rank is not None:
        while done < steps and found.columns + width <= size and not stop_asked():
            found, done = _expand(P, found, width), done + 1
        small, rank = lib.svd(found.R.T), min(task.rank, found.columns)
    else:
        target = task.target * shared.safety(task.target, task.dtype)
        most = (MOST + 0.1 if shared.known(evidence) else BLIND) * size
        while True:
            found = with_residual(P, found)
            small = rank = None
            if found.residual_energy <= (target * found.norm_fro) ** 2:
                small = lib.svd(found.R.T)
                rank = shared.choose_rank(lib.to_numpy(small[1]), found.residual_energy, found.norm_fro, target)
            if small is not None and rank is not None:
                break
            if stop_asked():
                small, rank = lib.svd(found.R.T), found.columns
                break
            missing = shared.columns_missing(lib.to_numpy(lib.svdvals(found.R)), found, target) if done else width
            if found.columns + missing > most:
                raise Breakdown(shared.too_much(found, missing))
            found, done = _expand(P, found, min(width, size - found.columns)), done + 1
    details: dict[str, float | int | str] = {"block": width, "steps": done, "columns": found.columns, "rank": rank}
    return Outcome(triplets(lib, found, small, rank), shared.by_products(found), details)


def _expand(P: Products, found: Range, width: int) -> Range:
    """One more block, from A applied to the last one."""
    lib = P.lib
    Q, _, _ = orthonormalize_against(lib, P.matmul(found.Z[:, -width:]), found.Q)
    Z, C, R = orthonormalize_against(lib, P.rmatmul(Q), found.Z)
    return replace(append(lib, found, Q, Z, C, R), residual_energy=math.nan)


ALGORITHM = Algorithm(
    "low_rank",
    "block_krylov",
    "block Krylov",
    "Musco, Musco (2015); Golub, Luk, Overton (1981)",
    options,
    applies,
    work,
    error,
    solve,
    randomized=True,
)
