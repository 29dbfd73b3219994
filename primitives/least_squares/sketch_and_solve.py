"""Sketch-and-solve: the solution of min ||S (b - A x)||, where a few digits are enough.

With a Gaussian S of l rows, independent of the data,

    ||A (x - x*)||^2 = ||b - A x*||^2  n / (l - n + 1)  F(n, l - n + 1),

F Fisher's distribution, with mean n / (l - n - 1): given S A the error is normal, its covariance an inverse Wishart
matrix (Hotelling's T^2). Sparse sign and trigonometric sketches behave alike. The rows l are the fewest for which
that meets the target at 95 %, given the residual that the probe found (at most 1 where none ran), so it pays for
loose targets or nearly consistent systems. Ridge enters as exact rows after sketching, and makes the error smaller
than stated.

Cost: one pass over A, and 2 l n^2 flops.
Reference: Martinsson and Tropp, Randomized numerical linear algebra, Acta Numerica 29 (2020), sec. 10.3; Muirhead,
Aspects of Multivariate Statistical Theory (1982), theorem 3.2.12, for the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scipy import special

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._rounding import HOUSEHOLDER, residual_of, singular_reason, stable_error
from ._shared import size
from ._sketched import made_by_probe, obtain, probe_rows, regularized_entries, sketch_bytes, sketch_calls

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; kind and rows of the sketch."""

    backend: str = "scipy"
    dtype: str = "float64"
    sketch: str = "sparse_sign"
    rows: int = 0


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """As many rows as the target asks for; the sparse sketch on each library, the others once."""
    rows = rows_needed(task, evidence)
    for backend in backends_for(task, ("scipy", "torch")):
        yield Options(backend, task.dtype, "sparse_sign", rows)
    if backends_for(task, ("scipy",)):
        yield Options("scipy", task.dtype, "srtt", rows)
        yield Options("scipy", task.dtype, "gaussian", rows)


def rows_needed(task: Task, evidence: Evidence) -> int:
    """Fewest rows whose error is below the target at 95 %; m when even m rows do not do. Not below the probe's."""
    n, m = task.n, task.m
    rho = residual_of(task, evidence).high
    least = min(max(2 * n, n + 64, probe_rows(m, n) or 0), m)

    def too_few(rows: int) -> bool:
        return rho * relative_error(task, rows, 0.95) > task.target

    if n >= m or too_few(m):
        return m
    low, high = least, m
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_few(middle) else (low, middle)
    return least if low == least else min(m, -(-low // 64) * 64)


def relative_error(task: Task, rows: int, quantile: float, sketch: str = "sparse_sign") -> float:
    """Quantile of ||A (x - x*)|| / ||b - A x*||, the worst of the right-hand sides."""
    n, free = task.n, rows - task.n + 1
    if free < 1:
        return math.inf
    squared = n / free * float(special.fdtri(n, free, quantile ** (1.0 / max(task.nrhs, 1))))
    if sketch == "srtt":  # frequencies are drawn without replacement
        squared *= max(0.0, 1.0 - rows / task.m)
    return math.sqrt(squared)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Tall, full rank, and a target loose enough."""
    m, n = task.m, task.n
    limit = 0.02 / UNIT_ROUNDOFF[options.dtype]
    reason = singular_reason(task, evidence, limit, f"the sketched problem is singular in {options.dtype}")
    if reason is not None:
        return reason
    if 2 * options.rows > m:
        rho = residual_of(task, evidence)
        return (
            f"a sketch of {m // 2} rows has a relative error of about "
            f"{rho.median * relative_error(task, max(m // 2, n + 1), 0.5):.1g}, above the target {task.target:.1g}"
            if m >= 2 * n + 4
            else f"{m} rows are too few for a sketch of {n} columns"
        )
    return None


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||S (b - A x)||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "sketch".

    Raises
    ------
    Breakdown
        If the sketch is exactly singular.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    sketch = obtain(lib, A, b, task, options.sketch, options.rows, reuse)
    R, z = sketch.regularized(lib, task.ridge)
    if not float(lib.xp.min(abs(lib.xp.linalg.diagonal(R)))) > 0.0:
        raise Breakdown("the sketch of A is singular")
    return Outcome(lib.solve_triangular(R, z), {"sketch": sketch}, {"sketch rows": sketch.rows})


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A sketch and its QR, unless the probe made it, and a triangular solve."""
    n, r = task.n, task.nrhs
    k = Calls(options.backend, options.dtype)
    at_hand = made_by_probe(task, evidence, options.sketch, options.rows)
    calls = () if at_hand else sketch_calls(task, options.sketch, options.rows, k)
    if task.ridge > 0.0:
        calls += (k("geqrf", 2 * n, n + r),)
    entries = 8.0 * n * r + 512.0
    if task.ridge > 0.0:
        entries += regularized_entries(options.backend, n, r)
    peak = size(options.dtype, entries)
    if not at_hand:
        peak = max(peak, sketch_bytes(task, options.sketch, options.rows, options.dtype))
    return Work((*calls, k("trsm", n, r)), peak)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """||r|| / ||b|| sqrt(n / (l - n + 1) F(n, l - n + 1)), and rounding."""
    rho = residual_of(task, evidence)
    floor = stable_error(task, evidence, options.dtype, HOUSEHOLDER)

    def quantile(residual: float, q: float) -> float:
        return residual * relative_error(task, options.rows, q, options.sketch) if residual > 0.0 else 0.0

    return Interval(quantile(rho.median, 0.5), quantile(rho.low, 0.05), quantile(rho.high, 0.95)) + floor


ALGORITHM = Algorithm(
    kind="least_squares",
    name="sketch_and_solve",
    title="sketch and solve",
    reference="Martinsson and Tropp, Acta Numerica 29 (2020), sec. 10.3",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
)
