"""What a sketch tells of a least-squares problem: condition, rank, residual, size of the solution, coherence.

One pass over A, a QR factorization of the sketch [S A, S b] and a few triangular solves. S is a sparse sign embedding
with l = 4 n or 2 n rows (`probe_rows`): the singular values of S A are those of A within 1 +- q, q = sqrt(n / l). The
two sides are not alike: ||S A v|| = ||A v|| (1 + O(l^-1/2)) for the v that attains sigma_min(A), so that sigma_min(S
A) is hardly ever above it, but down to a factor 1 - q below (sqrt(1 - n / l) where it is isolated: an inverse
chi-square law). The condition number is thus between cond(S A) (1 - q) / (1 + q) and cond(S A). The sketched residual
is sqrt(1 - n / l) of the true one, for n of its l degrees of freedom are fitted.

Where A has fewer than about 4 rows per column no sketch is much shorter: A itself is factored, which costs what
solving by QR costs, and leaves the factor behind for the solver (kind "identity"). Wide A: the same of A'.

Reference: Martinsson and Tropp, Randomized numerical linear algebra, Acta Numerica 29 (2020), sections 8 and 10;
Epperly, Meier and Nakatsukasa (2024), arXiv:2406.03468, for the choice of the sketch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..primitives.backends import home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.kernels._library import Library
from ..primitives.least_squares._sketched import (
    EXACT_BELOW,
    LANCZOS_STEPS,
    append_diagonal,
    extreme_singular_values,
    probe_rows,
    regularized_entries,
    singular_values,
    sketch_bytes,
    sketch_calls,
    sketched_factor,
)
from ..primitives.norms import column_norms
from ..primitives.task import UNIT_ROUNDOFF, Task
from ..primitives.work import Calls, Work

Array = Any

NAME = "sketched least squares"
SAMPLE = 128  # rows whose leverage is looked at
SINGULAR = 5.0  # singular values below so many roundings, times sqrt(n), are rounding: 0.7 is the most seen


def work(task: Task, backend: str | None = None) -> Work:
    """A sketch of A and b, its QR, two pairs of extreme singular values, the leverage of a sample of rows."""
    if task.m < task.n:
        task = replace(task, m=task.n, n=task.m, nrhs=1)
    m, n, r = task.m, task.n, task.nrhs
    k = Calls(backend or home_backend(task), task.dtype)
    rows = probe_rows(m, n)
    if rows is None:
        calls, peak = (k("geqrf", m, n + r),), 8.0 * (3 * m * (n + r) + 2 * (n + r) ** 2)
    else:
        calls, peak = sketch_calls(task, "sparse_sign", rows, k), sketch_bytes(task, "sparse_sign", rows, "float64")
    small = Calls("scipy", "float64")
    spectra = small("svdvals", n, n, count=2) if n <= EXACT_BELOW else small("trsm", n, 1, count=8 * LANCZOS_STEPS)
    ridge = (small("geqrf", 2 * n, n + r), small("trsm_right", n, n)) if task.ridge > 0.0 else ()
    leverage = small("trsm", n, min(SAMPLE, m))
    entries = 6.0 * n * (n + r) + 3.0 * n * min(SAMPLE, m) + 16.0 * n
    if task.ridge > 0.0:
        entries = max(entries, regularized_entries("scipy", n, r) + 3.0 * n * (n + r))
    return Work((*calls, *ridge, spectra, leverage), max(peak, 8.0 * entries))


def run(
    A: Array, b: Array, task: Task, evidence: Evidence, *, backend: str | None = None
) -> tuple[Evidence, dict[str, Any]]:
    """Look at A : (m, n) and b : (m,) or (m, r), numpy, torch or cupy.

    Returns
    -------
    evidence : Evidence
        With norm_2, condition, scaled_condition, numerical_rank, residual, solution, coherence and findings.
    by_products : dict
        "sketch": the `SketchedFactor`, for tall A.
    """
    lib = library(backend or home_backend(task))
    A, b = lib.asarray(A), lib.asarray(b)
    tall = task.m >= task.n
    operand, rhs = (A, b) if tall else (A.T, A.T[:, :0])
    rows = probe_rows(*operand.shape)
    kind = "identity" if rows is None else "sparse_sign"
    sketch = sketched_factor(lib, operand, rhs, kind, rows or operand.shape[0], task.seed, task.tuning.nonzeros)
    seen = _Analysis.of(_small(lib, sketch.R), _small(lib, sketch.z), sketch.rows, sketch.distortion, task)
    B = _small(lib, b)
    if tall:
        size, residual = seen.tall_solution(sketch.residual)
    else:
        size, residual = seen.wide_solution(B)
    coherence = _coherence(lib, operand, seen, task.seed) if tall and seen.rank is None else None
    norm_b = column_norms(B)
    if tall and sketch.distortion > 0.0:
        residual = _less_noise(residual, norm_b, np.hypot(np.linalg.norm(seen.z0, axis=0), sketch.residual))
    found = _findings(seen, size, residual, norm_b, coherence, task, evidence)
    return found, {"sketch": sketch} if tall else {}


@dataclass(frozen=True, slots=True)
class _Analysis:
    """The triangular factor of the sketch, in float64, and what was computed of it.

    R0, z0 are without ridge, R, z with; `sigma` and `scaled` are the largest and smallest singular value of R as it
    is and with its columns scaled to one length; `rank` is None unless R is singular to working accuracy even then.
    """

    R0: np.ndarray
    z0: np.ndarray
    R: np.ndarray
    z: np.ndarray
    sigma: tuple[float, float]
    scaled: tuple[float, float]
    rank: int | None
    rows: int
    q: float
    task: Task

    @classmethod
    def of(cls, R0: np.ndarray, z0: np.ndarray, rows: int, q: float, task: Task) -> _Analysis:
        R, z = R0, z0
        if task.ridge > 0.0:
            R, z = append_diagonal(library("scipy"), R0, z0, math.sqrt(task.ridge))
        n, u = R.shape[0], UNIT_ROUNDOFF[task.dtype]
        scale = np.linalg.norm(R, axis=0)
        scaled = extreme_singular_values(R / np.where(scale > 0.0, scale, 1.0))
        sigma, rank = extreme_singular_values(R), None
        if not scaled[1] > SINGULAR * math.sqrt(n) * u * scaled[0]:
            s = singular_values(R)
            rank = int(np.count_nonzero(s > max(task.m, task.n) * 2.0 * u * s[0]))
            rank = None if rank == n else rank
        return cls(R0, z0, R, z, sigma, scaled, rank, rows, q, task)

    @property
    def fitted(self) -> float:
        """Degrees of freedom that a fit takes: the rank, less with ridge (the trace of the hat matrix)."""
        if self.rank is not None:
            return float(self.rank)
        if self.task.ridge == 0.0:
            return float(self.R.shape[0])
        return float(np.sum(library("scipy").right_solve_triangular(self.R0, self.R) ** 2))

    def inverse_norm(self) -> float:
        """||R^-1||_F from 8 random vectors; 0 where R is singular."""
        if self.rank is not None:
            return 0.0
        g = np.random.Generator(np.random.Philox(key=8)).standard_normal((self.R.shape[0], 8))
        return float(np.linalg.norm(library("scipy").solve_triangular(self.R, g))) / math.sqrt(8.0)

    def tall_solution(self, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """||x|| and ||S (b - A x)|| per right-hand side, given the part of S b outside the range of S A."""
        host = library("scipy")
        if self.rank is None:
            X = host.solve_triangular(self.R, self.z)
        else:
            U, s, Vh = host.svd(self.R)
            X = host.rmatmul(Vh[: self.rank], host.rmatmul(U, self.z)[: self.rank] / s[: self.rank, None])
        return np.linalg.norm(X, axis=0), np.hypot(outside, np.linalg.norm(self.z0 - host.matmul(self.R0, X), axis=0))

    def wide_solution(self, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for wide A, R being the factor of A': x = A'y, (A A' + ridge I) y = b, ||x|| about ||R0 y||."""
        host = library("scipy")
        if self.rank is None:
            Y = host.cholesky_solve(self.R, B)
            return np.linalg.norm(host.matmul(self.R0, Y), axis=0), self.task.ridge * np.linalg.norm(Y, axis=0)
        _, s, Vh = host.svd(self.R)
        C = host.matmul(Vh[: self.rank], B)
        inside = host.rmatmul(Vh[: self.rank], C)
        return np.linalg.norm(C / s[: self.rank, None], axis=0), np.linalg.norm(B - inside, axis=0)

    def condition(self, sigma: tuple[float, float]) -> Interval:
        """Condition number of A (columns scaled or not) from the extremes of the sketch."""
        largest, smallest = sigma
        noise = SINGULAR * math.sqrt(self.R.shape[0]) * UNIT_ROUNDOFF[self.task.dtype]
        if not smallest > noise * largest:
            return Interval(10.0 / noise, (1.0 - self.q) / (1.0 + self.q) / noise, math.inf)
        seen = largest / smallest
        if self.q == 0.0:
            return Interval(seen, seen / 1.05, seen * 1.1).at_least(1.0)
        spread = 1.1 * (1.0 + 1.6 / math.sqrt(self.rows))
        return Interval(
            seen * math.sqrt(1.0 - self.q**2) / (1.0 + self.q / 4.0),
            seen * (1.0 - self.q) / (1.0 + self.q) / 1.05,
            seen * spread,
        ).at_least(1.0)


def _findings(
    seen: _Analysis,
    size: np.ndarray,
    residual: np.ndarray,
    norm_b: np.ndarray,
    coherence: Interval | None,
    task: Task,
    evidence: Evidence,
) -> Evidence:
    q, u = seen.q, UNIT_ROUNDOFF[task.dtype]
    luck = 1.0 + (2.0 / math.sqrt(2.0 * seen.rows) if q > 0.0 else 0.05)  # ||S v|| falls below 1 by so much
    norm_2 = Interval(seen.sigma[0] / (1.0 + q / 4.0), seen.sigma[0] / (1.0 + q) / 1.02, seen.sigma[0] * luck)
    norm_b = np.where(norm_b > 0.0, norm_b, 1.0)

    x = float(np.max(size / norm_b)) * norm_2.median
    fitted = seen.fitted if task.m >= task.n else 0.0
    sketched = q > 0.0 and task.m >= task.n
    free = max(seen.rows - fitted, 1.0)
    rho = float(np.max(residual / norm_b)) * (math.sqrt(seen.rows / free) if sketched else 1.0)
    spread = min(0.9, 1.8 / math.sqrt(2.0 * free)) if sketched else 0.01
    if task.ridge > 0.0:  # part of the residual is what ridge leaves unfitted, in directions that S shortens
        spread = max(spread, q)
    floor = 10.0 * u * max(x, 1.0)
    rho_interval = Interval(min(rho, 1.0), max(rho * (1.0 - spread) - floor, 0.0), rho * (1.0 + spread) + floor)
    if rho_interval.high > 1.0:
        rho_interval = rho_interval.at_most(1.0)

    # S moves x by ||r|| ||A^+||_F / sqrt(l - n - 1), mostly at right angles; ||A|| ||x*|| is at least ||A x*||.
    moved = rho * norm_2.median * seen.inverse_norm() / math.sqrt(seen.rows) if sketched else 0.0
    least = math.sqrt(max(0.0, 1.0 - rho_interval.high**2)) if task.ridge == 0.0 else 0.0
    typical = math.sqrt(x * x - moved * moved) if moved < 0.9 * x else math.sqrt(x * max(least, 0.01 * x))
    x_interval = Interval(typical, max(0.7 * x - 2.0 * moved, 0.0), 1.3 * x + 2.0 * moved).at_least(least)

    condition, scaled = seen.condition(seen.sigma), seen.condition(seen.scaled)
    found = replace(
        evidence,
        norm_2=norm_2,
        condition=condition,
        scaled_condition=scaled,
        numerical_rank=seen.rank,
        residual=rho_interval,
        solution=x_interval,
        coherence=coherence,
    )
    return replace(found, findings=(*evidence.findings, *_sentences(found, task)))


def _less_noise(residual: np.ndarray, norm_b: np.ndarray, norm_Sb: np.ndarray) -> np.ndarray:
    """Where the residual is most of b, ||S r|| errs as ||S b|| does, whose error is known: take as much of it out."""
    share = np.clip(residual / np.where(norm_Sb > 0.0, norm_Sb, 1.0), 0.0, 1.0) ** 2
    return residual * np.where(norm_Sb > 0.0, norm_b / np.where(norm_Sb > 0.0, norm_Sb, 1.0), 1.0) ** share


def _sentences(found: Evidence, task: Task) -> tuple[Finding, ...]:
    k = min(task.m, task.n)
    if found.numerical_rank is not None:
        first = f"the numerical rank is {found.numerical_rank} of {k}: some columns are combinations of others"
        if task.m < task.n:
            first = f"the numerical rank is {found.numerical_rank} of {k}: some rows are combinations of others"
    else:
        first = f"the condition number is about {_range(found.condition)}"
        if found.scaled_condition.median < 0.3 * found.condition.median:
            first += f", {found.scaled_condition.median:.1e} once the columns are scaled to one length"
    sentences = [first]
    if found.residual is not None:
        rho = found.residual
        if rho.low == 0.0:
            sentences.append(f"A x = b can be solved to within rounding (||b - A x|| / ||b|| below {rho.high:.0e})")
        else:
            sentences.append(f"the least residual is about {rho.median:.2g} of b")
    if found.coherence is not None and found.coherence.median > 20.0:
        sentences.append(f"some rows weigh much more than others (coherence at least {found.coherence.low:.0f})")
    return tuple(Finding(NAME, sentence) for sentence in sentences)


def _range(x: Interval) -> str:
    high = f"{x.high:.1e}" if math.isfinite(x.high) else "unbounded"
    return f"{x.median:.1e} ({x.low:.1e} to {high})"


def _coherence(lib: Library, A: Array, seen: _Analysis, seed: int) -> Interval:
    """Leverage of a sample of rows, m / n times: the largest found is a lower bound, m / n an upper one."""
    m, n = A.shape
    if m <= SAMPLE:
        rows = np.arange(m)
    else:
        rows = np.random.Generator(np.random.Philox(key=seed)).choice(m, SAMPLE, replace=False)
    sample = np.stack([_small(lib, A[int(i)])[:, 0] for i in rows], axis=1)
    leverage = np.sum(library("scipy").solve_triangular(seen.R0, sample, transpose=True) ** 2, axis=0)
    largest = min(float(np.max(leverage)) * m / n, m / n)
    if m <= SAMPLE and seen.q == 0.0:
        return Interval.exact(max(largest, 1.0))
    low = max(1.0, largest * (1.0 - seen.q) ** 2)
    return Interval(min(max(1.5 * largest, low), m / n), min(low, m / n), m / n)


def _small(lib: Library, a: Array) -> np.ndarray:
    """A small array as a float64 numpy matrix; a vector becomes a column."""
    a = np.asarray(lib.to_numpy(a), dtype=np.float64)
    return a[:, None] if a.ndim == 1 else a
