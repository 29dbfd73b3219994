"""The SVD by divide and conquer (LAPACK gesdd), truncated.

Backward stable: ||A - U diag(s) Vh||_F is a small multiple of u ||A||_F before truncation, and the truncation is the
best of its rank (Eckart and Young). O(m n min(m, n)). Reference: Gu, Eisenstat, SIAM J. Matrix Anal. Appl. 16 (1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from . import _shared as shared

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Whose gesdd."""

    dtype: str = "float64"
    backend: str = "numpy"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One setting for each library."""
    for backend in backends_for(task):
        yield Options(task.dtype, backend)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Always."""
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One gesdd and the copies it makes."""
    m, n = task.m, task.n
    k = Calls(options.backend, task.dtype)
    calls = (*shared.means_calls(k, task), k("gesdd", m, n))
    if task.center:
        calls += (k("copy", m, n),)
    return Work(calls, peak_bytes(task, shared.expected_rank(task, evidence, task.dtype)))


def peak_bytes(task: Task, rank: int) -> float:
    """A's copies, both sets of vectors, gesdd's workspace (3 k^2 + max(m, n), plus k^2 when it starts with a QR)."""
    m, n = shared.shape(task)
    copies = (2 if task.center else 1) * m * n
    workspace = (5 if m >= 11 * n / 6 else 4) * n * n + 70 * m
    during = copies + m * n + n * n + workspace
    after = (m * n if task.center else 0) + m * n + n * n + (m + n) * rank
    return shared.peak(task.dtype, max(during, after))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The best error of the rank, plus rounding."""
    spectrum = shared.spectrum_of(task, evidence)
    squared = 0.0 if task.rank is None else spectrum.tail(task.rank)
    rounding = shared.floor(task, task.dtype)
    if task.rank is not None and squared <= (16.0 * rounding) ** 2 * spectrum.total:
        return Interval(rounding, rounding / 4.0, 8.0 * rounding)  # exact up to rounding, whatever the best error is
    forecast = shared.metric(task, evidence, squared, rounding, (1.0, 1.0))
    floor = UNIT_ROUNDOFF[task.dtype] * (min(task.m, task.n) ** 0.5 + 2.0)
    if task.rank is None and task.target < 4.0 * floor:
        return Interval(2.0 * floor, 0.3 * floor, 8.0 * floor)
    return forecast


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(U, s, Vh): the leading singular triplets of A, or of A minus its column means."""
    lib = library(options.backend)
    matrix = lib.asarray(A)
    if task.center:
        matrix = matrix - lib.xp.mean(matrix, axis=0)
    U, s, Vh = lib.svd(matrix)
    del matrix
    values = lib.to_numpy(s).astype(float)
    if task.rank is not None:
        rank = min(task.rank, len(values))
    else:
        target = task.target * shared.safety(task.target, task.dtype)
        norm_fro = float((values**2).sum() ** 0.5)
        rank = min(shared.choose_rank(values, 0.0, norm_fro, target) or len(values), len(values))
    if rank <= len(values) // 2:  # a view would keep all the vectors in memory
        U, Vh = lib.xp.asarray(U[:, :rank], copy=True), lib.xp.asarray(Vh[:rank], copy=True)
    else:
        U, Vh = U[:, :rank], Vh[:rank]
    return Outcome((U, s[:rank], Vh), {"singular_values": values}, {"rank": rank})


ALGORITHM = Algorithm(
    "low_rank",
    "svd",
    "SVD by divide and conquer",
    "LAPACK gesdd; Gu, Eisenstat (1995)",
    options,
    applies,
    work,
    error,
    solve,
    safe=True,
)
