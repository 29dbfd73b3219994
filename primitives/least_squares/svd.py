"""Least squares by the singular value decomposition: the answer that needs no assumption.

Singular values below max(m, n) eps sigma_1 count as zero, and the solution of minimum norm is returned. With ridge the
filter factors s / (s^2 + ridge) replace 1 / s. Tall A: the R factor of [A, b] first, then the SVD of R, whose parts the
certificate uses again; through numpy, and for wide A, LAPACK's gelsd (what `numpy.linalg.lstsq` calls), with ridge the
SVD of A.

Cost: about 2 m n^2 + 20 n^3 flops and two copies of A; gelsd 4 m n^2 + 8 n^3 and one.
Guarantee: backward stable for every rank. Reference: Golub and Kahan, SIAM J. Numer. Anal. B 2 (1965), 205-224;
LAPACK Users' Guide, gelsd.
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
from ..kernels._library import Library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._memory import gelsd, geqrf, gesdd
from ._rounding import SVD, stable_error, truncation_error
from ._shared import size
from ._sketched import factored_by_probe, obtain, regularized_entries

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs."""

    backend: str = "numpy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One setting per library, numpy first: `numpy.linalg.lstsq` is the routine that a user would call."""
    for backend in backends_for(task, ("numpy", "scipy", "torch")):
        yield Options(backend, task.dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Always."""
    return None


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Minimum-norm solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products of tall A: "r_factor", R : (n, n) with R'R = A'A + ridge I; without ridge "r_svd", its singular values
    and right singular vectors.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    if not _by_triangle(task, options):
        if _by_gelsd(task):
            return Outcome(lib.lstsq_svd(A, b))
        U, s, Vh = lib.svd(A)
        x, rank = _filtered(lib, s, lib.rmatmul(U, b), Vh, task)
        return Outcome(x, details={"rank": rank})
    factor = obtain(lib, A, b, task, "identity", task.m, reuse)
    U, s, Vh = lib.svd(lib.asarray(factor.R))
    x, rank = _filtered(lib, s, lib.rmatmul(U, lib.asarray(factor.z)), Vh, task)
    by_products: dict[str, Any] = {"r_factor": factor.regularized(lib, task.ridge)[0]}
    if task.ridge == 0.0:
        by_products["r_svd"] = s, Vh
    return Outcome(x, by_products, {"rank": rank})


def _filtered(lib: Library, s: Array, c: Array, Vh: Array, task: Task) -> tuple[Array, int]:
    """V (s / (s^2 + ridge)) c over the singular values that count, c = U'b, and how many do."""
    largest = (float(s[0]) ** 2 + task.ridge) ** 0.5 if s.shape[0] else 0.0
    threshold = max(task.m, task.n) * 2.0 * UNIT_ROUNDOFF[task.dtype] * largest
    kept = lib.xp.sqrt(s * s + task.ridge) > threshold
    safe = lib.xp.where(kept, s, lib.xp.ones_like(s))
    filters = lib.xp.where(kept, safe / (safe * safe + task.ridge), lib.xp.zeros_like(s))
    x = lib.rmatmul(Vh, filters * c if c.ndim == 1 else filters[:, None] * c)
    return x, int(lib.xp.sum(kept))


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One QR factorization of [A, b] unless the probe made it, one SVD of R; or one gelsd; or one SVD of A."""
    m, n, r = task.m, task.n, task.nrhs
    k = Calls(options.backend, options.dtype)
    if _by_triangle(task, options):
        calls = () if factored_by_probe(task, evidence) else (k("copy", m, n + r), k("geqrf", m, n + r))
        entries = 0.0 if not calls else m * (n + r) + geqrf(options.backend, m, n + r)
        entries = max(entries, n * n + gesdd(options.backend, options.dtype, n, n) + 3 * n * r)
        calls += (k("gesdd", n, n), k("gemm", n, r, n, count=2.0))
        if task.ridge > 0.0:
            calls += (k("geqrf", 2 * n, n + r),)
            entries = max(entries, 2.0 * n * n + regularized_entries(options.backend, n, r))
        return Work(calls, size(options.dtype, entries, n * n + 64))
    if _by_gelsd(task):
        return Work((k("gelsd", m, n, r),), size(options.dtype, gelsd(options.backend, options.dtype, m, n, r)))
    entries = gesdd(options.backend, options.dtype, m, n) + (2 * min(m, n) + n) * r
    return Work(
        (k("gesdd", m, n), k("gemm", min(m, n), r, m), k("gemm", n, r, min(m, n))), size(options.dtype, entries)
    )


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u (c1 ||A|| ||x*|| / ||b|| + c2 cond ||r|| / ||b||), and what the threshold cuts off.

    `numpy.linalg.lstsq` computes in float64 whatever the dtype.
    """
    dtype = "float64" if options.backend == "numpy" else options.dtype
    return stable_error(task, evidence, dtype, SVD) + truncation_error(task, evidence)


def _by_triangle(task: Task, options: Options) -> bool:
    return task.m >= task.n and options.backend != "numpy"


def _by_gelsd(task: Task) -> bool:
    return task.ridge == 0.0 and task.device == "cpu" and task.library != "cupy"


ALGORITHM = Algorithm(
    kind="least_squares",
    name="svd",
    title="singular value decomposition",
    reference="Golub and Kahan (1965); LAPACK gelsd",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
)
