"""f(A) = V diag(f(w)) V' from all eigenvalues and vectors (LAPACK).

Divide and conquer (syevd: Gu and Eisenstat, SIAM J. Matrix Anal. Appl. 16, 1995), 9 n^3 flops and 2 n^3 for f(A).
Backward stable: w and V are those of A + E with ||E|| a small multiple of u ||A||, so that f(A) is as right as f is
insensitive. Any f. Sparse matrices and operators of small order are made dense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._common import Products, columns, defined_on, on_numbers, products, sensitivity

EIGENPAIRS = "eigenpairs"  # by-product: (w, V), what the value was made of
_DENSE = 6000  # order up to which a sparse matrix is made dense
_SEEN = 2000  # and an operator, by products with the identity
_HALVED = 300  # order from which it pays to compute one triangle of a product


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs, and in which dtype."""

    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Each library; float32 operands in float64 too, of which an ill-conditioned A needs the digits."""
    for backend in backends_for(task, ("scipy", "torch")) if task.access == "dense" else ("scipy",):
        for dtype in dict.fromkeys((task.dtype, "float64")):
            yield Options(backend, dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Any f, where all entries fit in memory as an array."""
    most = {"sparse": _DENSE, "operator": _SEEN}.get(task.access, task.n)
    if task.n > most:
        return f"as a dense array of order {task.n} it would take {8e-9 * task.n**2:.2g} GB"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One syevd, and one product or two with V."""
    n, r, k = task.n, task.nrhs, Calls(options.backend, options.dtype)
    size = 4.0 if options.dtype == "float32" else 8.0
    made = products(task, evidence, n, 1.0) if task.access == "operator" else ()
    last = (k("gemm", n, r, n, count=2.0),) if r else (k("gemm", n, n, n), k("copy", n, n, count=3.0))
    arrays = (4.0 if r else 5.0) + (1.0 if task.access != "dense" or options.dtype != task.dtype else 0.0)
    return Work((*made, k("syevd", n), *last), size * (arrays * n * n + 2.0 * n * columns(task) + 40.0 * n))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """Rounding of the eigenvalues, as f sees it; and of the answer."""
    unit = UNIT_ROUNDOFF[options.dtype]
    rounding = Interval(0.5, 0.05, 2.0) * (unit * (2.0 + 0.5 * task.n**0.5))
    known = sensitivity(task, evidence)
    return Interval(
        rounding.median * known.median, rounding.low * known.low, rounding.high * known.high
    ) + Interval.around(task.unit_roundoff * known.median**0.5, 3.0)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """f(A) : (n, n), or f(A) b of the shape of b. Raises Breakdown where f is not defined at an eigenvalue."""
    lib = library(options.backend)
    if task.access == "dense":
        matrix = A
    elif task.access == "sparse":
        matrix = A.toarray()
    else:
        matrix = Products(A, task)(np.eye(task.n))
    w, V = lib.eigh(lib.asarray(matrix, options.dtype))
    eigenvalues = np.asarray(lib.to_numpy(w), dtype=np.float64)
    why = defined_on(task.function, eigenvalues, UNIT_ROUNDOFF[options.dtype])
    if why:
        raise Breakdown(why)
    values = on_numbers(task.function, eigenvalues, task.call)
    if not (np.isfinite(values).all() and float(np.abs(values).max(initial=0.0)) <= float(np.finfo(options.dtype).max)):
        raise Breakdown(f"f is not finite, or beyond {options.dtype}, at an eigenvalue of A")
    d = lib.asarray(values, options.dtype)
    if b is None and task.n >= _HALVED and float(values.min()) >= 0.0:  # half the flops
        X = lib.gram((V * d**0.5).T)
        value = lib.xp.triu(X) + lib.xp.triu(X, k=1).T
    elif b is None:
        X = lib.matmul(V * d, V.T)
        value = 0.5 * (X + X.T)
    else:
        inner = lib.rmatmul(V, lib.asarray(b, options.dtype))
        value = lib.matmul(V, d * inner if inner.ndim == 1 else d[:, None] * inner)
    return Outcome(lib.astype(value, task.dtype), by_products={EIGENPAIRS: (w, V)})


ALGORITHM = Algorithm(
    kind="matrix_function",
    name="eigendecomposition",
    title="all eigenvalues and vectors (LAPACK)",
    reference="LAPACK syevd; Gu and Eisenstat 1995; Higham, Functions of Matrices (2008), section 4.5",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
    breakdown=lambda task, evidence, options: 0.01,
)
