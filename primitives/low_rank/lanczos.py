"""Lanczos: a few singular triplets to full accuracy, by ARPACK or PROPACK.

Implicitly restarted Lanczos on the Gram operator (ARPACK) or partially reorthogonalized Golub-Kahan bidiagonalization
(PROPACK), through products with single vectors: slow per product, but converging to rounding where randomized methods
stop at what their polynomial reaches. For small ranks and tight tolerances.

References: Lehoucq, Sorensen, Yang, ARPACK Users' Guide (1998); Larsen, "Lanczos bidiagonalization with partial
reorthogonalization" (1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels._library import refuse_not_finite
from ..stopping import stop_asked
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from . import _shared as shared
from .range_basis import gaussian_columns, products

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Which code: "arpack" or "propack"."""

    solver: str = "arpack"
    dtype: str = "float64"
    backend: str = "numpy"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """ARPACK and PROPACK."""
    for backend in backends_for(task, ("numpy",)):
        if backend == "numpy":
            yield Options("arpack", task.dtype)
            yield Options("propack", task.dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """None, or why not."""
    size = min(task.m, task.n)
    if task.rank is None:
        return "Lanczos needs the rank in advance"
    if task.rank > size / 4:
        return f"rank {task.rank} of {size} is too many triplets to find one by one"
    if size < 30:
        return f"with {size} singular values the direct SVD is immediate"
    return None


def steps(task: Task, evidence: Evidence, options: Options) -> float:
    """Expected products with A (as many again with A')."""
    k = task.rank or 1
    basis = max(2 * k + 1, 20)
    spectrum = shared.spectrum_of(task, evidence)
    gap = spectrum.value(k) / max(spectrum.value(min(task.m, task.n, basis + 1)), 1e-150)
    # Chebyshev degree that damps what lies beyond the basis to the tolerance, from the k-th value.
    rate = 2.0 * math.acosh(max(min(gap, 1e6) ** 2 * 2.0 - 1.0, 1.0 + 1e-6)) / 2.0
    degree = 0.5 * math.log(4.0 / tolerance(task, evidence)) / max(rate, 0.02)
    if options.solver == "propack":
        return min(2.0 * k + 10.0 + 2.5 * degree * math.sqrt(k), 10.0 * basis)
    return basis + min(degree, 40.0) * 0.5 * (basis - k)


def tolerance(task: Task, evidence: Evidence) -> float:
    """Relative accuracy of the squared singular values that the target needs."""
    u = UNIT_ROUNDOFF[task.dtype]
    if not shared.known(evidence) or task.rank is None:
        return 4.0 * u
    spectrum = shared.spectrum_of(task, evidence)
    best = spectrum.tail(task.rank)
    return min(max(0.2 * task.target * best / max(spectrum.total - best, 1e-300), 4.0 * u), 1e-2)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """Matrix-vector products both ways, and the Lanczos basis."""
    m, n = task.m, task.n
    rank = task.rank or 1
    size = min(m, n)
    k = Calls(options.backend, task.dtype)
    count = steps(task, evidence, options)
    basis = min(size, max(2 * rank + 1, 20)) if options.solver == "arpack" else min(size, 10 * rank + 20)
    calls = (
        *shared.means_calls(k, task),
        k("gemv", m, n, count=count),
        k("gemv_t", m, n, count=count),
        k("gemv", size, basis, count=2 * count),
        k("gemv_t", size, basis, count=2 * count),
    )
    held = basis * (size if options.solver == "arpack" else m + n) + 6 * (m + n) * rank + 8 * (m + n)
    return Work(calls, shared.peak(task.dtype, held, 3 * basis * basis))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """Converged: the best error of the rank up to the tolerance."""
    spectrum = shared.spectrum_of(task, evidence)
    best = spectrum.tail(task.rank or 1)
    lost = 1e-6 * tolerance(task, evidence) * max(spectrum.total - best, 0.0)  # converged values are better yet
    return shared.metric(task, evidence, best + lost, shared.floor(task, task.dtype), (1e3, 1e4))


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(U, s, Vh): the leading singular triplets of A, or of A minus its column means."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, svds

    P = products(A, "numpy", task.center)
    guard = _Guard()

    def matvec(x: np.ndarray) -> np.ndarray:
        return guard(P.matmul, x.reshape(-1, 1), task.m)[:, 0]

    def rmatvec(y: np.ndarray) -> np.ndarray:
        return guard(P.rmatmul, y.reshape(-1, 1), task.n)[:, 0]

    make: Any = LinearOperator
    operator = make(
        (task.m, task.n),
        matvec,
        rmatvec=rmatvec,
        matmat=lambda X: guard(P.matmul, X, task.m),
        rmatmat=lambda Y: guard(P.rmatmul, Y, task.n),
        dtype=np.dtype(task.dtype),
    )
    rank = task.rank or 1
    short = P if task.n <= task.m else P.T
    start = gaussian_columns(short if options.solver == "arpack" else P.T, 1, task.seed)[:, 0]
    run: Any = svds
    try:
        U, s, Vh = run(
            operator,
            k=rank,
            v0=start,
            tol=tolerance(task, evidence),
            solver=options.solver,
            maxiter=_limit(task, options),
        )
    except (ArpackError, np.linalg.LinAlgError, ValueError) as error:
        guard.tell()
        raise Breakdown(f"{options.solver.upper()} did not converge: {error}") from error
    guard.tell()
    order = np.argsort(-s)
    U, s, Vh = U[:, order], s[order], Vh[order]
    if len(s) < rank or not np.isfinite(s).all():
        raise Breakdown(f"{options.solver.upper()} found {len(s)} of {rank} triplets")
    if options.solver == "propack":  # its vectors are orthogonal to sqrt(u) only: Rayleigh-Ritz on the right ones
        V, _ = P.lib.qr(Vh.T)
        Q, R = P.lib.qr(P.matmul(V))
        left, s, right = P.lib.svd(R)
        U, Vh = P.lib.matmul(Q, left), P.lib.matmul(right, V.T)
    return Outcome((U, s, Vh), {}, {"products": guard.count, "rank": rank})


class _Guard:
    """Products for compiled code, which does not stop at an exception and ends the process on what is not finite.

    After a failure it is given ones, so that it comes to an end soon; `tell` raises what has happened.
    """

    def __init__(self) -> None:
        self.count = 0
        self._raised: BaseException | None = None

    def __call__(self, product: Callable[[np.ndarray], np.ndarray], X: np.ndarray, rows: int) -> np.ndarray:
        if self._raised is None:
            try:
                if stop_asked():
                    raise Breakdown(f"stopped after {self.count} products, before any triplet had converged")
                self.count += 1
                Y = product(X)
                refuse_not_finite(Y)
                return Y
            except BaseException as error:
                self._raised = error
        return np.ones((rows, X.shape[1]), X.dtype)

    def tell(self) -> None:
        """Raise what a product has raised, if one has."""
        if self._raised is not None:
            raise self._raised


def _limit(task: Task, options: Options) -> int:
    return 60 if options.solver == "arpack" else max(10 * (task.rank or 1), 100)


ALGORITHM = Algorithm(
    "low_rank",
    "lanczos",
    "Lanczos",
    "Lehoucq, Sorensen, Yang (1998); Larsen (1998)",
    options,
    applies,
    work,
    error,
    solve,
    randomized=True,
)
