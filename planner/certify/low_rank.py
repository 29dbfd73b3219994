"""Error of a low-rank approximation, and how far it can be above the best.

The residual A - U S Vh is formed by blocks of rows, so that its norm is known to rounding; or, where the algorithm
left Q and B = Q'A and cancellation allows, ||A - U S Vh||^2 = ||A||^2 - 2 <U'A, S Vh> + ||s||^2, U'A = (U'Q) B, after B
was checked on independent test vectors.

With a rank asked for, the best rank-k error is bounded from below: by Mirsky's inequality from a full SVD, from all
eigenvalues of the Gram matrix where the algorithm left them, else by `primitives.low_rank.optimality` from the range
that it found. Where cancellation or rounding decides, a
third bound uses that the error is stationary at the optimum: with M = A A' = [T C'; C D] in the basis [U, Uperp],
h >= lambda_max(D) and delta = lambda_min(T) - h > 0, M <= diag(T + C'C / delta, (h + delta) I), so that the k largest
eigenvalues of M exceed those of T by at most ||C||_F^2 / delta in sum, and

    ||A - U S Vh||_F^2 - ||A - A_k||_F^2 <= ||U'A - S Vh||_F^2 + ||C||_F^2 / delta,

which involves no difference of large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.low_rank import optimality
from ...primitives.low_rank.range_basis import Products, orthonormalize
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate
from .products import UNIT, rmatmul64, row_blocks

_TIGHT = 1e-4  # excess over the best error that bounds from a range seldom show


def _means(lib: Library, A: Any, task: Task) -> Any:
    """Column means (1, n) in float64, or None."""
    if not task.center:
        return None
    ones = lib.asarray(np.ones((task.m, 1)))
    return rmatmul64(lib, A, ones).T / task.m


def _norm_by_blocks(lib: Library, A: Any, mean: Any, U: Any = None, scaled_Vh: Any = None) -> float:
    """||A - 1 mean' - U scaled_Vh||_F, without what is None."""
    total = 0.0
    for rows in row_blocks(A):
        E = lib.astype(A[rows], "float64")
        if mean is not None:
            E = E - mean
        if U is not None:
            product = lib.matmul(U[rows], scaled_Vh)
            product -= E
            E = product
        total += lib.sum_of_squares(E)
    return math.sqrt(total)


def _energy_of_product(lib: Library, left: Any, right: Any, s: Any) -> float:
    """||U S Vh||_F^2 from the upper triangles of U'U and Vh Vh': ||s||^2 only as far as the factors are orthonormal."""
    weighted = lib.xp.triu(left) * lib.xp.triu(right) * (s[:, None] * s[None, :])
    return 2.0 * float(weighted.sum()) - float(lib.xp.linalg.diagonal(weighted).sum())


def certify(
    lib: Library,
    A: Any,
    outcome: Outcome,
    task: Task,
    evidence: Evidence,
    target: float | None,
    *,
    reuse: Mapping[str, Any],
    seed: int,
    confidence: float,
) -> Certificate:
    """Certificate of the factors (U, s, Vh) in `outcome.value`, arrays of `lib`, A scaled by the planner."""
    U, s, Vh = (lib.astype(part, "float64") for part in outcome.value)
    mean = _means(lib, A, task)
    norm_fro = evidence.norm_fro or 0.0
    scaled_Vh = s[:, None] * Vh
    if mean is not None or task.dtype != "float64":  # ||A||^2 - m ||mean||^2 cancels; sums in float32 are inexact
        norm_fro = _norm_by_blocks(lib, A, mean)
    delta = 1.0 - confidence
    left, right = lib.gram(U), lib.gram(Vh.T)
    seen = _seen_range(lib, A, outcome, task, mean, seed)
    own = _energy_of_product(lib, left, right, s)
    energy = None if seen is None else _residual_energy(lib, seen, U, Vh, s, norm_fro, own)
    if energy is not None and energy > _resolved(target or task.target or 1e-12) * norm_fro**2:
        estimate, method, sure = math.sqrt(energy), "residual from the range found, checked by test vectors", confidence
        cancelled = math.sqrt(energy + 64.0 * UNIT * norm_fro**2) - estimate
    else:
        estimate = _norm_by_blocks(lib, A, mean, U, scaled_Vh)
        method, sure, cancelled = "residual formed by blocks", 1.0, 0.0
    rounding = 4.0 * UNIT * norm_fro + cancelled
    bound = estimate * (1.0 + 1e-13) + rounding
    if norm_fro == 0.0:
        good = not bool(lib.xp.any(s != 0))
        return _certificate(0.0 if good else math.inf, 0.0, 1.0, "A is zero", target)
    departure = max(optimality.departure(lib, left), optimality.departure(lib, right)) if s.shape[0] else 0.0
    if not departure < 1e2 * UNIT_ROUNDOFF[task.dtype] * max(task.m, task.n):
        return _certificate(math.inf, departure, sure, "the factors are not orthonormal", target)
    if task.rank is None:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, method, target)
    # Below this the error is rounding of the factors in the dtype of the result, whatever the rank.
    noise = 8.0 * UNIT_ROUNDOFF[task.dtype] * math.sqrt(min(task.m, task.n)) * norm_fro
    if bound <= noise:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, f"{method}: exact up to rounding", target)
    enough = math.inf if target is None else bound / (1.0 + 0.99 * target)
    lower, how = _best_error_from_below(outcome, task, seen, norm_fro, seed, delta, enough)
    excess = bound / lower - 1.0 if lower > 0.0 else math.inf
    columns = None
    if target is not None and excess > target:
        lost, residual = _lost_energy(lib, A, (U, s, scaled_Vh), outcome, task, mean, seed, delta)
        least = max(0.0, estimate - rounding) ** 2
        stationary = 1.0 / math.sqrt(1.0 - lost / least) - 1.0 if lost < least else math.inf
        if stationary < excess:
            excess, how = stationary, "best error bounded by the residuals of the singular vectors"
        if excess > target and lost == math.inf and residual < 0.1 * target * least and seen is not None:
            # the vectors are as good as iterating makes them, and the next value is no smaller: more of them help
            columns = seen.Q.shape[1]
    method = f"{method}; {how}"
    if not math.isfinite(excess):
        return _certificate(math.inf, estimate / norm_fro, sure, method, target, columns)
    excess = max(4.0 * UNIT, excess * (1.0 + 1e-6))  # the quotient's own rounding
    likely = min(excess, max(0.0, estimate / lower - 1.0)) if lower > 0.0 else excess
    return _certificate(excess, likely, min(sure, confidence), method, target, columns)


def _certificate(
    bound: float, estimate: float, confidence: float, method: str, target: float | None, columns: int | None = None
) -> Certificate:
    satisfied = math.isfinite(bound) and (target is None or bound <= target)
    return Certificate("relative_frobenius", bound, estimate, confidence, method, target, satisfied, columns=columns)


@dataclass(frozen=True, slots=True)
class _SeenRange:
    """Q orthonormal and B = Q'A, in float64; of the transpose of A where `products` is transposed.

    `is_value`: Q is the U of the answer itself.
    """

    products: Products
    Q: Any
    B: Any
    is_value: bool


def _seen_range(lib: Library, A: Any, outcome: Outcome, task: Task, mean: Any, seed: int) -> _SeenRange | None:
    """The range that the algorithm found, its compressed matrix checked or computed again; None after a full SVD."""
    found = outcome.by_products.get("range")
    if outcome.by_products.get("singular_values") is not None or (found is None and task.rank is None):
        return None
    means = None if mean is None else mean[0]
    products = Products(lib.astype(A, "float64"), lib, means, found is not None and found.transposed)
    Q = lib.astype(lib.asarray(outcome.value[0] if found is None else found.Q), "float64")
    B = None if found is None or found.Q.dtype != Q.dtype else lib.asarray(found.B)
    is_value = found is None
    if optimality.departure(lib, lib.gram(Q)) > 1e-12 * Q.shape[1]:
        Q, B, is_value = orthonormalize(lib, Q)[0], None, False
    if B is None or not _is_compressed(lib, products, Q, B, seed):
        B = products.rmatmul(Q).T
    return _SeenRange(products, Q, B, is_value)


def _resolved(target: float) -> float:
    """Share of ||A||_F^2 from which a difference of energies is precise enough for a target."""
    return max(1e-9, 1e-12 / target)


def _residual_energy(lib: Library, seen: _SeenRange, U: Any, Vh: Any, s: Any, norm_fro: float, own: float) -> float:
    """||A||_F^2 - 2 <U'A, S Vh> + ||U S Vh||_F^2 (`own`); U'A = (U'Q) B where U is in the span of Q."""
    left, right = (Vh.T, U.T) if seen.products.transposed else (U, Vh)
    if seen.is_value:
        image = seen.B
    else:
        coordinates = lib.rmatmul(seen.Q, left)
        outside = left - lib.matmul(seen.Q, coordinates)
        within = float((outside * outside).sum()) <= 1e-24 * max(1, left.shape[1])
        image = lib.rmatmul(coordinates, seen.B) if within else seen.products.rmatmul(left).T
    cross = float((image * (s[:, None] * right)).sum())
    return norm_fro**2 - 2.0 * cross + own


def _best_error_from_below(
    outcome: Outcome, task: Task, seen: _SeenRange | None, norm_fro: float, seed: int, delta: float, enough: float
) -> tuple[float, str]:
    """A number that ||A - A_k||_F exceeds with probability 1 - delta, and how it was found; no better than `enough`."""
    assert task.rank is not None
    values = outcome.by_products.get("singular_values")
    if seen is None:
        if values is None:
            return 0.0, "the algorithm left nothing to bound the best error by"
        # LAPACK's values are within a small multiple of u sigma_1 (Anderson et al. 1999, section 4.9); their sum of
        # squares is checked against the norm.
        unit = UNIT_ROUNDOFF[task.dtype] * math.sqrt(task.m + task.n)
        if abs(optimality.from_singular_values(values, 0) - norm_fro) > 30.0 * unit * norm_fro:
            return 0.0, "the singular values do not add up to the norm of A"
        lower = optimality.from_singular_values(values, task.rank) - 4.0 * unit * norm_fro
        return max(0.0, lower), "best error from a full SVD"
    gram, lower = outcome.by_products.get("gram_eigenvectors"), 0.0
    if gram is not None:
        tall = replace(seen.products, transposed=task.m < task.n)
        w, V = gram
        lower = optimality.from_gram_eigenvectors(tall, w, V, task.rank, norm_fro, seed, 0.25 * delta)
        delta = 0.5 * delta
    if lower < enough:
        found = optimality.best_rank_k_lower_bound(
            seen.products, seen.Q, seen.B, task.rank, norm_fro, seed, 0.5 * delta, enough=enough
        )
        if found >= lower:
            return found, "best error bounded from the range found"
    return lower, "best error from the eigenvalues of the Gram matrix, checked by test vectors"


def _lost_energy(
    lib: Library,
    A: Any,
    factors: tuple[Any, Any, Any],
    outcome: Outcome,
    task: Task,
    mean: Any,
    seed: int,
    delta: float,
) -> tuple[float, float]:
    """||A - U S Vh||_F^2 - ||A - A_k||_F^2 is at most the first, infinite where the gap does not allow a bound.

    The second is what it would be, were the next singular value zero.
    """
    U, _, scaled_Vh = factors
    products = Products(lib.astype(A, "float64"), lib, None if mean is None else mean[0])
    U = orthonormalize(lib, U)[0]
    B = products.rmatmul(U).T
    W = products.matmul(B.T)
    C = W - lib.matmul(U, lib.rmatmul(U, W))
    T = lib.matmul(B, B.T)
    theta = float(lib.eigvalsh(0.5 * (T + T.T))[0])
    values = outcome.by_products.get("singular_values")
    if values is not None:
        next_value = float(values[task.rank]) if (task.rank or 0) < len(values) else 0.0
        h = (next_value + 4.0 * UNIT * math.sqrt(task.m + task.n) * float(values[0])) ** 2
    else:
        X = lib.asarray(
            np.random.default_rng(np.random.Philox(key=seed + 2)).standard_normal((task.n, optimality.TEST_VECTORS))
        )
        Y = products.matmul(X) - lib.matmul(U, lib.matmul(B, X))
        h = optimality.spectral_norm_bound(products, U, Y, 0.5 * delta, optimality.STEPS) ** 2
    gap, inner = theta - h, B - scaled_Vh
    own, residual = float((inner * inner).sum()), float((C * C).sum())
    return own + residual / gap if gap > 0.0 else math.inf, own + residual / theta if theta > 0.0 else math.inf


def _is_compressed(lib: Library, products: Products, Q: Any, B: Any, seed: int) -> bool:
    """Whether B = Q'A, on independent test vectors."""
    X = lib.asarray(np.random.default_rng(np.random.Philox(key=seed + 1)).standard_normal((B.shape[1], 2)))
    AX = products.matmul(X)
    gap = lib.rmatmul(Q, AX) - lib.matmul(B, X)
    return bool(float((gap * gap).sum()) <= 1e-20 * float((AX * AX).sum()))


def work(task: Task, evidence: Evidence, algorithm: Algorithm, options: Any) -> Work:
    """The residual, and with a rank asked for the bound on the best error."""
    k = Calls(options.backend, "float64")
    m, n = task.m, task.n
    rank = task.rank or _rank_forecast(task, evidence)
    factors = 8.0 * 2 * rank * (m + n)
    columns = min(m, n, _columns(options, rank))
    calls = [k("syrk", m, rank), k("syrk", n, rank), k("copy", rank, rank, count=8)]
    if not algorithm.safe:
        side, other = (min(m, n), max(m, n)) if algorithm.name == "gram" else (m, n)  # rows of Q, columns of B
        calls += [k("syrk", side, columns), k("gemm", m, 2, n)]
        calls += [k("gemm", columns, rank, side, count=2), k("gemm", rank, other, columns)]
        calls += [k("copy", side, rank, count=3), k("copy", other, rank, count=3)]
    if not algorithm.safe and options.dtype == task.dtype == "float64" and _resolved(task.target) < 1e-4:
        total = Work(tuple(calls), factors + 8.0 * 3 * columns * (m + n))
    else:
        calls += [k("gemm", m, n, rank), k("copy", m, n), k("stream", m, n)]
        total = Work(tuple(calls), factors + 8.0 * 3 * min(m * n, 4 * 2**20 + n))
    if task.rank is None or algorithm.safe:
        return total
    if algorithm.name == "gram":
        bound = optimality.gram_work(task, options.backend)
    else:
        bound = optimality.work(replace(task, dtype="float64"), columns, options.backend)
        if task.target < _TIGHT:  # bounds from the range are not as tight: residuals of the singular vectors as well
            products = (k("gemm", n, rank, m), k("gemm", m, rank, n), k("gemm", rank, rank, m, count=5))
            bound += Work((*products, *optimality.work(replace(task, dtype="float64"), 0, options.backend).calls))
    if options.dtype != "float64":
        total += Work((k("gemm", columns, n, m), k("qr", m, columns)))
    return total + bound.holding(factors if task.dtype == "float64" else factors + 8.0 * m * n)


def range_columns(task: Task, algorithm: Algorithm, options: Any) -> int | None:
    """Columns of the range that the bound on the best error will rest on; None where it rests on all of A."""
    return None if algorithm.safe or algorithm.name == "gram" or task.rank is None else _columns(options, task.rank)


def _columns(options: Any, rank: int) -> int:
    """Columns of the range that an algorithm leaves."""
    if hasattr(options, "block"):
        return (options.block or rank + 10) * (options.steps + 1)
    return rank + int(getattr(options, "oversampling", 0))


def _rank_forecast(task: Task, evidence: Evidence) -> int:
    """How many singular values the target needs, as far as the probe saw."""
    total = (evidence.norm_fro or 1.0) ** 2
    left, allowed = total, (task.target**2) * total
    for count, value in enumerate(evidence.singular_values):
        if left <= allowed:
            return max(1, count)
        left -= value * value
    return max(1, min(task.m, task.n) // 4, len(evidence.singular_values))
