"""Eigendecomposition of the Gram matrix of the shorter side.

G = A'A = V diag(w) V' for m >= n (A A' for wide A); W = A V_k = U R by QR; s = |diag(R)|. Squares the condition number:
singular values below sqrt(u) sigma_1 are noise, so that the truncation error can be asked down to about 1e-7 in
float64. Re-orthogonalizing W makes U orthonormal to rounding whatever the singular values, and A V_k V_k' = U R V_k'
exactly, so that the result's error is that of the subspace V_k.

m n^2 flops in one matrix product, the fastest kernel there is: on tall matrices several times faster than gesdd.
Reference: Golub, Van Loan, Matrix Computations (4th ed.), sections 8.6 and 10.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from . import _shared as shared
from .range_basis import Range, orthonormalize, products

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Whose syrk and syevd."""

    dtype: str = "float64"
    backend: str = "scipy"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One setting for each library."""
    for backend in backends_for(task, ("scipy", "torch")):  # numpy's pool has the same kernels as SciPy's, fewer
        yield Options(task.dtype, backend)


def resolution(task: Task) -> float:
    """Relative Frobenius error below which the Gram matrix says nothing: 1e-7 in float64, 2e-3 in float32."""
    return 10.0 * math.sqrt(UNIT_ROUNDOFF[task.dtype])


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """None, or why not."""
    limit = resolution(task)
    if task.rank is None and task.target < limit:
        return f"A'A resolves errors down to {limit:.0e} of ||A|| and the target is {task.target:.1e}"
    if task.rank is not None and shared.known(evidence):
        spectrum = shared.spectrum_of(task, evidence)
        best = math.sqrt(spectrum.tail(task.rank) / max(spectrum.total, 1e-300))
        if best < 0.1 * limit / math.sqrt(min(max(task.target, 1e-12), 1.0)) * 1e-2:
            return f"rank {task.rank} leaves about {best:.0e} of ||A||, below what A'A resolves ({limit:.0e})"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A syrk, a syevd, one product and its QR."""
    m, n = shared.shape(task)
    rank = shared.expected_rank(task, evidence, task.dtype)
    k = Calls(options.backend, task.dtype)
    calls = (
        *shared.means_calls(k, task),
        k("syrk", m, n),
        k("syevd", n),
        k("gemm", m, rank, n),
        *shared.orthonormalize_calls(k, m, rank),
    )
    squares = {"torch": 8, "numpy": 5 if task.dtype == "float64" else 10}.get(options.backend, 5) + 2 * task.center
    vectors = n * n + (shared.copies(options.backend, task.dtype) + task.center) * m * rank + 3 * n * rank
    held = max(squares * n * n, vectors) + 4 * rank * rank + 3 * n
    return Work(calls, shared.peak(task.dtype, held))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The best error of the rank, and what squaring loses."""
    u = UNIT_ROUNDOFF[task.dtype]
    if task.rank is None:
        return shared.metric(task, evidence, 0.0, shared.floor(task, task.dtype), (1.0, 1.0))
    # The subspace is that of G + E with ||E|| ~ u ||A||^2: at most that much energy, per direction, is exchanged.
    spectrum = shared.spectrum_of(task, evidence)
    best = spectrum.tail(task.rank)
    lost = min(u, 3.0 * u * u * spectrum.total / max(best, 1e-300)) * spectrum.total
    return shared.metric(task, evidence, best + lost, shared.floor(task, task.dtype), (100.0, 10.0))


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(U, s, Vh): the leading singular triplets of A, or of A minus its column means."""
    P = products(A, options.backend, task.center, transposed=task.m < task.n)
    lib, xp = P.lib, P.lib.xp
    G = _gram(P)
    w, vectors = lib.eigh(G)
    del G
    w = lib.to_numpy(w).astype(float)
    energies = np.maximum(w[::-1], 0.0)
    norm_fro = P.norm_fro(evidence.norm_fro)
    if task.rank is not None:
        rank = min(task.rank, len(energies))
    else:
        target = task.target * shared.safety(task.target, task.dtype)
        captured = norm_fro**2 - np.cumsum(energies)
        enough = np.flatnonzero(captured <= (target * norm_fro) ** 2)
        if len(enough) == 0:
            raise Breakdown(f"the eigenvalues of A'A do not resolve an error of {task.target:.1e}")
        rank = int(enough[0]) + 1
    V = xp.flip(vectors[:, vectors.shape[1] - rank :], axis=1)
    U, R = orthonormalize(lib, P.matmul(V))
    s = xp.linalg.diagonal(R)
    order = xp.argsort(-xp.abs(s))
    sign = xp.where(s < 0, -xp.ones_like(s), xp.ones_like(s))
    # A V = U R, so that V'A' = R'U': in Range's terms V spans, and U R is B'.
    left, right = xp.take(U * sign, order, axis=1), xp.take(V, order, axis=1)
    s = xp.take(xp.abs(s), order)
    found = Range(V, U, R, -1, task.seed, not P.transposed, lib.name, math.nan, norm_fro)
    value = (right, s, left.T) if P.transposed else (left, s, right.T)
    by_products = shared.by_products(found) | {"gram_eigenvectors": (w, vectors)}
    return Outcome(value, by_products, {"rank": rank})


def _gram(P: Any) -> Array:
    """P'P, upper triangle; centring subtracts a rank-one term when the means belong to the shorter side."""
    lib = P.lib
    m = P.A.shape[0]
    if P.means is None:
        return lib.gram(P.A.T if P.transposed else P.A)
    if not P.transposed:
        # Cancellation here costs what the Gram matrix has lost anyway: u ||A||^2, not u ||A - 1 means'||^2.
        return lib.gram(P.A) - m * P.means[:, None] * P.means[None, :]
    # (A - 1 mu')(A - 1 mu')' = A A' - (A mu) 1' - 1 (A mu)' + (mu'mu) 1 1'
    product = lib.matmul(P.A, P.means)
    return lib.gram(P.A.T) - product[:, None] - product[None, :] + float(P.means @ P.means)


ALGORITHM = Algorithm(
    "low_rank",
    "gram",
    "eigenvectors of the Gram matrix",
    "Golub, Van Loan (2013), sections 8.6 and 10.4",
    options,
    applies,
    work,
    error,
    solve,
)
