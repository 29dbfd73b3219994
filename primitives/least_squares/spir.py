"""Sketch-and-precondition with iterative refinement (SPIR).

R from the QR factorization of a sketch S A with l rows, x from the sketched problem, then conjugate gradients on the
normal equations preconditioned by R, and once more from the new residual: one phase alone is forward but not backward
stable, two are. The condition number of A R^-1 is (1 + q) / (1 - q), q = sqrt(n / l), so each iteration multiplies
the error by q. Ridge enters as the rows sqrt(ridge) I in the QR of the sketch and as ridge x in the products. Where
the sketch is singular to working accuracy its R is regularized by 10 eps ||R||_F, as the authors' code does.

Cost: a sketch, 2 l n^2 flops for its QR, and 4 m n for each of ln(1 / reduction) / ln(1 / q) iterations.
Guarantee: backward stable (main theorem of the reference) while the condition number is below about 1 / (30 eps).
Reference: Epperly, Meier and Nakatsukasa, Fast randomized least-squares solvers can be just as accurate and stable as
classical direct solvers (2024), arXiv:2406.03468.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..kernels._library import Library
from ..stopping import stop_asked
from ..task import UNIT_ROUNDOFF, Task
from ..tuning import DEFAULT
from ..work import Calls, Work
from ._rounding import CORRECTED, condition_of, residual_of, singular_reason, solution_of, stable_error
from ._shared import gradient, gradient_calls, gradient_entries, size
from ._sketched import (
    SketchedFactor,
    append_diagonal,
    extreme_singular_values,
    made_by_probe,
    obtain,
    regularized_entries,
    sketch_bytes,
    sketch_calls,
)

Array = Any

MAX_ITERATIONS = 100  # per phase, as in the authors' code
AIM = 0.3  # how far below the target the iteration stops: a margin for the estimate of the error


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; the sketch has factor * n rows (and at least n + 64)."""

    backend: str = "scipy"
    dtype: str = "float64"
    sketch: str = "sparse_sign"
    factor: int = DEFAULT.sketch_factor


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Two sizes of the sparse sketch on each library; the others once, where generating them is not absurd."""
    for backend in backends_for(task, ("scipy", "torch")):
        for factor in factors(task, evidence):
            if 2 * rows_of(task, factor) <= task.m:
                yield Options(backend, task.dtype, factor=factor)
    if backends_for(task, ("scipy",)) and 2 * rows_of(task, DEFAULT.sketch_factor) <= task.m:
        yield Options("scipy", task.dtype, sketch="srtt")
        yield Options("scipy", task.dtype, sketch="gaussian")


def factors(task: Task, evidence: Evidence) -> tuple[int, ...]:
    """Rows per column: as tuned, and three times as many; the probe's too where its sketch is at hand."""
    tuned = task.tuning.sketch_factor
    probed = () if evidence.coherence is None else (DEFAULT.sketch_factor,)
    return tuple(dict.fromkeys((*probed, tuned, 3 * tuned)))


def rows_of(task: Task, factor: int) -> int:
    """Rows of the sketch."""
    return max(factor * task.n, task.n + 64)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Tall enough for a sketch, full rank."""
    rows = rows_of(task, options.factor)
    if 2 * rows > task.m:
        return f"{task.m} rows are too few for a sketch of {rows}: its QR costs as much as that of A"
    limit = 1.0 / (60.0 * UNIT_ROUNDOFF[options.dtype])
    return singular_reason(task, evidence, limit, f"the preconditioner is singular in {options.dtype}")


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "sketch".

    Raises
    ------
    Breakdown
        If a column vanishes in the sketch or a phase does not converge.
    """
    lib = library(options.backend)
    xp = lib.xp
    A, b = lib.asarray(A), lib.asarray(b)
    sketch = obtain(lib, A, b, task, options.sketch, rows_of(task, options.factor), reuse)
    R, z = sketch.regularized(lib, task.ridge)
    scale = _norms(lib, R)
    if not float(xp.min(scale)) > 0.0:
        raise Breakdown("a column of A vanishes in the sketch")
    eps = 2.0 * UNIT_ROUNDOFF[options.dtype]
    scaled = R / scale
    largest, smallest = extreme_singular_values(lib.to_numpy(scaled))
    shift = 0.0
    if not smallest > 30.0 * eps * largest:
        shift = 10.0 * eps * math.sqrt(task.n)  # ||scaled||_F is sqrt(n)
        scaled, z = append_diagonal(lib, scaled, z, shift)
        smallest = math.hypot(smallest, shift)
    if b.ndim == 2:
        scale = scale[:, None]
    system = _System(lib, A, scaled, scale, task.ridge, shift)

    goal = AIM * task.target * _norms(lib, b) / (1.0 + sketch.distortion)
    v = z
    x = system.solution(v)
    floor = eps * (largest * _norms(lib, scale * x) + 0.04 * largest / smallest * sketch_residual(lib, sketch, b))
    counts = []
    for slack in (1.0, 0.1):  # the second phase goes on from a fresh residual, to the last digits
        c = system.gradient(b, x)
        if bool(xp.all(_norms(lib, c) <= goal)) or stop_asked():
            break
        v, iterations = _conjugate_gradients(lib, system.normal, c, xp.maximum(goal, slack * floor))
        counts.append(iterations)
        x = x + system.solution(v)
    details: dict[str, float | int | str] = {
        "iterations": sum(counts),
        "phases": len(counts),
        "sketch rows": sketch.rows,
    }
    return Outcome(x, {"sketch": sketch}, details)


def sketch_residual(lib: Library, sketch: SketchedFactor, b: Array) -> Array:
    """||b - A x*|| per right-hand side, as the sketch estimates it: n of its degrees of freedom are fitted."""
    inflate = 1.0 / math.sqrt(max(1.0 - sketch.distortion**2, 0.1))
    norms = lib.xp.asarray(sketch.residual * inflate, dtype=b.dtype, device=getattr(b, "device", None))
    return norms[0] if b.ndim == 1 else norms


@dataclass(frozen=True, slots=True)
class _System:
    """The normal equations in v, x = D^-1 R^-1 v: R the factor of the sketch with columns of norm 1, D their norms."""

    lib: Library
    A: Array
    R: Array
    scale: Array
    ridge: float
    shift: float

    def solution(self, v: Array) -> Array:
        """x of v."""
        return self.lib.solve_triangular(self.R, v) / self.scale

    def gradient(self, b: Array | None, x: Array) -> Array:
        """R^-T D^-1 (A'(b - A x) - ridge x - shift^2 D^2 x); b is zero where it is None."""
        g = gradient(self.lib, self.A, b, x, str(x.dtype).rpartition(".")[2])
        if self.ridge:
            g = g - self.ridge * x
        g = g / self.scale
        if self.shift:
            g = g - self.shift**2 * self.scale * x
        return self.lib.solve_triangular(self.R, g, transpose=True)

    def normal(self, v: Array) -> Array:
        """The operator applied to v."""
        return -self.gradient(None, self.solution(v))


def _conjugate_gradients(lib: Library, normal: Any, c: Array, stop: Array) -> tuple[Array, int]:
    """Solve normal(v) = c column by column at once, until each residual is below its `stop` or a stop is asked for."""
    xp = lib.xp
    v, r, p = xp.zeros_like(c), c, c
    rho = xp.sum(r * r, axis=0)
    for iteration in range(MAX_ITERATIONS):
        active = xp.sqrt(rho) > stop
        if not bool(xp.any(active)) or stop_asked():
            return v, iteration
        q = normal(p)
        curvature = xp.sum(p * q, axis=0)
        alpha = xp.where(active & (curvature > 0.0), rho / xp.where(curvature > 0.0, curvature, 1.0), 0.0)
        v, r = v + alpha * p, r - alpha * q
        before, rho = rho, xp.sum(r * r, axis=0)
        p = r + xp.where(active, rho / xp.where(before > 0.0, before, 1.0), 0.0) * p
    if bool(xp.any(xp.sqrt(rho) > 10.0 * stop)):
        raise Breakdown(f"the preconditioned iteration did not converge in {MAX_ITERATIONS} steps")
    return v, MAX_ITERATIONS


def _norms(lib: Library, X: Array) -> Array:
    return lib.xp.sqrt(lib.xp.sum(X * X, axis=0))


def forecast_iterations(task: Task, evidence: Evidence, options: Options) -> float:
    """ln(start / stop) / ln(1 / q) for each phase, q = sqrt(n / l).

    The first starts from the error of sketch-and-solve, sqrt(n / (l - n - 1)) ||r|| / ||b||, and stops at the target
    or at what its recurrences resolve; the second goes on from there. In n dimensions the iteration speeds up as it
    meets the ends of the spectrum: k steps of the asymptotic rate are about k / (1 + k / 2.5 n).
    """
    n, l = task.n, rows_of(task, options.factor)
    eps = 2.0 * UNIT_ROUNDOFF[options.dtype]
    q = math.sqrt(n / l)
    x, rho = solution_of(evidence).median, residual_of(task, evidence).median
    cond = min(condition_of(task, evidence).median, 1.0 / eps)
    floor = eps * (x + 0.04 * cond * rho)
    goal = AIM * task.target / (1.0 + q)
    start = math.sqrt(n / (l - n - 1)) * rho + eps * x * cond**0.5
    first = max(goal, floor)
    iterations = max(0.0, math.log(start / first))
    second = max(goal, 0.1 * floor)
    if goal < 3.0 * floor:  # the first phase's last digits are not there yet
        iterations += max(0.0, math.log(max(first, 3.0 * floor) / second))
    iterations /= math.log(1.0 / q)
    return max(1.0, iterations / (1.0 + iterations / (2.5 * n)))


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A sketch unless the probe made it; a product with A and one with A' per iteration and per phase."""
    n, r = task.n, task.nrhs
    rows = rows_of(task, options.factor)
    k = Calls(options.backend, options.dtype)
    at_hand = made_by_probe(task, evidence, options.sketch, rows)
    calls = () if at_hand else sketch_calls(task, options.sketch, rows, k)
    if task.ridge > 0.0:
        calls += (k("geqrf", 2 * n, n + r),)
    passes = forecast_iterations(task, evidence, options) + 2.0
    calls += (*gradient_calls(k, task, passes), k("trsm", n, r, count=2.0 * passes))
    entries = 4.0 * n * n + gradient_entries(task) + 8.0 * n * r + 16.0 * n
    if options.dtype == "float32":  # the condition number is estimated in float64
        entries += 8.0 * n * n
    if task.ridge > 0.0:
        entries = max(entries, regularized_entries(options.backend, n, r))
    peak = size(options.dtype, entries)
    return Work(calls, max(peak, 0.0 if at_hand else sketch_bytes(task, options.sketch, rows, options.dtype)))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The error of a backward-stable method, or what the stopping rule leaves of a looser target."""
    floor = stable_error(task, evidence, options.dtype, CORRECTED)
    left = AIM * task.target
    return Interval(floor.median + 0.4 * left, floor.low, floor.high + left)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="spir",
    title="sketch-and-precondition with refinement",
    reference="Epperly, Meier and Nakatsukasa (2024), arXiv:2406.03468",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
)
