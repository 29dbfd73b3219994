"""Error of a low-rank approximation, and how far it can be above the best.

Every algorithm's factors satisfy A'U = V S or A V = U S up to rounding, F = A'U - V S say. Then

    ||A - U S V'||^2 = ||A||^2 - ||V S||^2 - 2 <F, V S> + <V S (U'U - I), V S>,

so that ||F||_F and ||U'U - I||_F are all that has to be known, and only small: independent test vectors X bound them,
||F||_F^2 <= ||F X||_F^2 / q with q a quantile of chi-squared (a sum of chi-squared variables with given total weight
falls far below its mean most easily if all the weight is on one: Roosta-Khorasani and Szekely, Metrika 78, 2015).
Where cancellation does not allow that, the residual is formed by blocks of rows, so that its norm is known to rounding.

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

from ...primitives import chi_squared
from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.low_rank import optimality
from ...primitives.low_rank.range_basis import Products, orthonormalize
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate
from .products import UNIT, column_norms, matmul64, rmatmul64, rounding_of_sum, row_blocks

_TIGHT = 1e-4  # excess over the best error that bounds from a range seldom show
_TEST_VECTORS = 8
# A sum of squares of one number, again and again, is off by so much of u each at worst, as was measured of numpy,
# OpenBLAS and MKL, which add up some beside each other. Of many blocks it is off by what one of them is.
_ONE_NUMBER, _BLOCK = 0.012, 2**13


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
        total += _sum_of_squares(lib, E)
    return math.sqrt(total)


def _sum_of_squares(lib: Library, E: Any) -> float:
    """||E||_F^2 of a float64 block, to `_rounding_of_squares`."""
    entries = E.reshape(-1)
    return sum(lib.sum_of_squares(entries[i : i + _BLOCK]) for i in range(0, entries.shape[0], _BLOCK))


def _rounding_of_squares(count: int) -> float:
    """Rounding error of a sum of so many squares at most, relative to it."""
    return (4.0 + _ONE_NUMBER * count) * UNIT


@dataclass(frozen=True, slots=True)
class _Size:
    """Of A, or of A without its column means.

    ||.||_F is `norm`, and its square is off by `unsure`, at most; what the certificate takes for A is off by `shift`.
    `means` is ||1 mean'||_F: products with A lose its rounding before the means are taken off.
    """

    norm: float
    unsure: float
    shift: float = 0.0
    means: float = 0.0


def _size(lib: Library, A: Any, mean: Any, known: float | None = None) -> _Size:
    """`known` is ||A||_F as it was added up by somebody else; of no use where means are taken off.

    With E = A - 1 mean' for a mean that has been rounded, A without its column means is E - 1 c', c the means of E,
    and ||1 c'||_F is seen when E is.
    """
    count = A.shape[0] * A.shape[1]
    if known is not None:
        return _Size(known, _rounding_of_squares(count) * known**2)
    if mean is None:
        norm = _norm_by_blocks(lib, A, None)
        return _Size(norm, _rounding_of_squares(min(_BLOCK, count)) * norm**2)
    total, sums, longest = 0.0, 0.0 * mean[0], 1
    for rows in row_blocks(A):
        E = lib.astype(A[rows], "float64") - mean
        total += _sum_of_squares(lib, E)
        sums = sums + E.sum(0)
        longest = max(longest, E.shape[0])
    norm = math.sqrt(total)
    shift = float((sums * sums).sum() / A.shape[0]) ** 0.5 + rounding_of_sum(longest) * UNIT * norm
    means = math.sqrt(A.shape[0]) * float((mean * mean).sum()) ** 0.5
    return _Size(norm, _rounding_of_squares(_BLOCK) * total, shift, means)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What test vectors show of the factors: ||A - U S Vh||_F^2 is `energy` up to `slack` and what ||A||_F^2 is off;
    `departure` of either from orthonormal columns, at most, in the Frobenius norm. `exact`: nothing was left to chance.
    """

    energy: float
    slack: float
    departure: float
    exact: bool


def _checked(
    lib: Library,
    A: Any,
    mean: Any,
    factors: tuple[Any, Any, Any],
    right: bool,
    norm_fro: float,
    seed: int,
    delta: float,
) -> _Checked:
    """The factors by independent test vectors, with probability 1 - delta.

    `right`: A V = U S is what holds up to rounding, otherwise A'U = V S. Where there are no more columns than test
    vectors, the identity takes their place and nothing is left to chance.
    """
    U, s, Vh = factors
    k = s.shape[0]
    if k == 0:
        return _Checked(norm_fro**2, 0.0, 0.0, True)
    exact = k <= _TEST_VECTORS
    if exact:
        X, quantile = np.eye(k), 1.0
    else:
        X = np.random.default_rng(np.random.Philox(key=seed + 3)).standard_normal((k, _TEST_VECTORS))
        quantile = chi_squared.quantile(_TEST_VECTORS, delta / 3.0)
    X = lib.asarray(X)
    V = Vh.T
    held, other = (V, U) if right else (U, V)  # the one that meets A, and the one that its image is compared with
    shown, beside = lib.matmul(held, X), lib.matmul(other, X)
    scale = s[:, None]
    image = lib.matmul(other, scale * X)
    if right:
        product = matmul64(lib, A, shown)
        product = product if mean is None else product - lib.matmul(mean, shown)
    else:
        product = rmatmul64(lib, A, shown)
        product = product if mean is None else product - mean.T * shown.sum(0)[None, :]

    def at_most(E: Any) -> float:
        total = float((E * E).sum())
        return math.inf if math.isnan(total) else math.sqrt(total / quantile)

    failing = at_most(product - image)
    departures = at_most(lib.rmatmul(held, shown) - X), at_most(lib.rmatmul(other, beside) - X)
    norms = column_norms(other) * s
    size = float((norms * norms).sum())
    slack = 2.0 * failing * math.sqrt(size) + departures[0] * size + 16.0 * UNIT * norm_fro**2
    return _Checked(norm_fro**2 - size, slack, max(departures), exact)


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
    # ||A||^2 - m ||mean||^2 cancels; sums in float32 are inexact
    known = evidence.norm_fro if task.dtype == "float64" and mean is None else None
    size = _size(lib, A, mean, known)
    norm_fro, delta = size.norm, 1.0 - confidence
    if norm_fro == 0.0:
        good = not bool(lib.xp.any(s != 0))
        return _certificate(0.0 if good else math.inf, 0.0, 1.0, "A is zero", target)
    found = outcome.by_products.get("range")
    checked = _checked(lib, A, mean, (U, s, Vh), found is None or found.transposed, norm_fro, seed, 0.25 * delta)
    if not checked.departure < 1e2 * UNIT_ROUNDOFF[task.dtype] * max(task.m, task.n):
        return _certificate(math.inf, checked.departure, 1.0, "the factors are not orthonormal", target)
    aim = target or task.target or 1e-12
    enough = checked.energy * min(1e-3, 1e-2 * aim)
    if known is not None and checked.slack < enough <= checked.slack + size.unsure:  # the norm decides
        size, norm_fro, known = _size(lib, A, mean), size.norm, None
        checked = replace(checked, energy=checked.energy + (size.norm - norm_fro) * (size.norm + norm_fro))
    if checked.slack + size.unsure < enough and checked.energy > 0.0:
        estimate, method = math.sqrt(checked.energy), "residual from the factors, checked by test vectors"
        sure = 1.0 if checked.exact else confidence
        slack = math.sqrt(checked.energy + checked.slack + size.unsure) - estimate
    else:
        estimate = _norm_by_blocks(lib, A, mean, U, s[:, None] * Vh)
        method, sure, slack = "residual formed by blocks", 1.0, 0.0
    rounding = (3.0 + rounding_of_sum(s.shape[0])) * UNIT * size.norm + slack + size.shift
    bound = estimate * (1.0 + _rounding_of_squares(min(_BLOCK, task.m * task.n))) + rounding
    norm_fro = size.norm - size.shift - 0.5 * size.unsure / size.norm
    if norm_fro <= 0.0:
        return _certificate(math.inf, math.inf, 1.0, "columns differ from their means by rounding only", target)
    if task.rank is None:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, method, target)
    # Below this the error is rounding of the factors in the dtype of the result, or of the means, whatever the rank.
    noise = 8.0 * UNIT_ROUNDOFF[task.dtype] * math.sqrt(min(task.m, task.n)) * norm_fro + 2.0 * size.shift
    if bound <= noise:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, f"{method}: exact up to rounding", target)
    from_range = "singular_values" not in outcome.by_products
    if known is not None and from_range and size.unsure > 1e-2 * aim * estimate**2:
        size = _size(lib, A, mean)
    enough = math.inf if target is None else bound / (1.0 + 0.99 * target)
    products = Products(lib.astype(A, "float64"), lib, None if mean is None else mean[0])
    lower, how = _best_error_from_below(lib, products, outcome, task, size, seed, 0.5 * delta, enough)
    # no error is below the best: where rounding or chance have it otherwise, nothing is known
    excess = bound / lower - 1.0 if 0.0 < lower <= bound else math.inf
    columns = None
    if target is not None and excess > target:
        lost, residual = _lost_energy(lib, products, (U, s[:, None] * Vh), outcome, task, size, seed, 0.25 * delta)
        least = max(0.0, estimate - rounding) ** 2
        stationary = math.expm1(-0.5 * math.log1p(-lost / least)) if lost < least else math.inf
        if stationary < excess:
            excess, how = stationary, "best error bounded by the residuals of the singular vectors"
        if excess > target and lost == math.inf and residual < 0.1 * target * least and from_range:
            # the vectors are as good as iterating makes them, and the next value is no smaller: more of them help
            columns = s.shape[0] if found is None else found.columns
    method = f"{method}; {how}"
    if not math.isfinite(excess):
        return _certificate(math.inf, estimate / norm_fro, sure, method, target, columns)
    excess = max(4.0 * UNIT, excess * (1.0 + 1e-6))  # the quotient's own rounding
    likely = min(excess, max(0.0, estimate / lower - 1.0)) if 0.0 < lower <= bound else excess
    return _certificate(excess, likely, confidence, method, target, columns)


def _certificate(
    bound: float, estimate: float, confidence: float, method: str, target: float | None, columns: int | None = None
) -> Certificate:
    satisfied = math.isfinite(bound) and (target is None or bound <= target)
    return Certificate("relative_frobenius", bound, estimate, confidence, method, target, satisfied, columns=columns)


@dataclass(frozen=True, slots=True)
class _SeenRange:
    """Q orthonormal and B = Q'A, in float64; of the transpose of A where `products` is transposed."""

    products: Products
    Q: Any
    B: Any


def _seen_range(lib: Library, products: Products, outcome: Outcome, seed: int) -> _SeenRange:
    """The range that the algorithm found, its compressed matrix checked or computed again; else that of U."""
    found = outcome.by_products.get("range")
    products = replace(products, transposed=found is not None and found.transposed)
    Q = lib.astype(lib.asarray(outcome.value[0] if found is None else found.Q), "float64")
    B = None if found is None or found.Q.dtype != Q.dtype else lib.asarray(found.B)
    if optimality.departure(lib, lib.gram(Q)) > 1e-12 * Q.shape[1]:
        Q, B = orthonormalize(lib, Q)[0], None
    if B is None or not _is_compressed(lib, products, Q, B, seed):
        B = products.rmatmul(Q).T
    return _SeenRange(products, Q, B)


def _best_error_from_below(
    lib: Library,
    products: Products,
    outcome: Outcome,
    task: Task,
    size: _Size,
    seed: int,
    delta: float,
    enough: float,
) -> tuple[float, str]:
    """A number that ||A - A_k||_F exceeds with probability 1 - delta, and how it was found; no better than `enough`."""
    assert task.rank is not None
    norm_fro = size.norm
    values = outcome.by_products.get("singular_values")
    if values is not None:
        # LAPACK's values are within a small multiple of u sigma_1 (Anderson et al. 1999, section 4.9); their sum of
        # squares is checked against the norm.
        unit = UNIT_ROUNDOFF[task.dtype] * math.sqrt(task.m + task.n)
        if abs(optimality.from_singular_values(values, 0) - norm_fro) > 30.0 * unit * norm_fro:
            return 0.0, "the singular values do not add up to the norm of A"
        # Means that are off by d add ||1 d'||_F^2 to all that is left, at most.
        off = rounding_of_sum(task.m) * UNIT_ROUNDOFF[task.dtype] * size.means
        left = max(0.0, optimality.from_singular_values(values, task.rank) ** 2 - off**2)
        return max(0.0, math.sqrt(left) - 4.0 * unit * norm_fro), "best error from a full SVD"
    # products lose the rounding of A with its means
    lost = 2.0 * rounding_of_sum(max(task.m, task.n)) * UNIT * size.means * norm_fro + size.unsure
    gram, lower = outcome.by_products.get("gram_eigenvectors"), 0.0
    if gram is not None:
        tall = replace(products, transposed=task.m < task.n)
        w, V = gram
        lower = _less(optimality.from_gram_eigenvectors(tall, w, V, task.rank, norm_fro, seed, 0.5 * delta), lost)
        delta = 0.5 * delta
    if lower < enough:
        seen = _seen_range(lib, products, outcome, seed)
        found = optimality.best_rank_k_lower_bound(
            seen.products, seen.Q, seen.B, task.rank, norm_fro, seed, delta, enough=enough
        )
        found = _less(found, lost)
        if found >= lower:
            return found, "best error bounded from the range found"
    return lower, "best error from the eigenvalues of the Gram matrix, checked by test vectors"


def _less(error: float, energy: float) -> float:
    """The error that is left without some energy."""
    return math.sqrt(max(0.0, error * error - energy))


def _lost_energy(
    lib: Library,
    products: Products,
    factors: tuple[Any, Any],
    outcome: Outcome,
    task: Task,
    size: _Size,
    seed: int,
    delta: float,
) -> tuple[float, float]:
    """||A - U S Vh||_F^2 - ||A - A_k||_F^2 is at most the first, infinite where the gap does not allow a bound.

    The second is what it would be, were the next singular value zero. U is orthonormal to the rounding of its dtype
    only: with U = Q R, Q orthonormal, Q and R S Vh are what is compared with A.
    """
    assert task.rank is not None
    U, scaled_Vh = factors
    U, given = orthonormalize(lib, U)[0], U
    scaled_Vh = lib.matmul(lib.rmatmul(U, given), scaled_Vh)
    B = products.rmatmul(U).T
    W = products.matmul(B.T)
    C = W - lib.matmul(U, lib.rmatmul(U, W))
    T = lib.matmul(B, B.T)
    theta = float(lib.eigvalsh(0.5 * (T + T.T))[0])
    values = outcome.by_products.get("singular_values")
    if values is not None:
        next_value = float(values[task.rank]) if task.rank < len(values) else 0.0
        # they are LAPACK's of a matrix in the dtype of the task, whose means may be off
        off = 4.0 * math.sqrt(task.m + task.n) * float(values[0]) + rounding_of_sum(task.m) * size.means
        h = (next_value + UNIT_ROUNDOFF[task.dtype] * off) ** 2
    else:
        X = lib.asarray(
            np.random.default_rng(np.random.Philox(key=seed + 2)).standard_normal((task.n, optimality.TEST_VECTORS))
        )
        Y = products.matmul(X) - lib.matmul(U, lib.matmul(B, X))
        h = optimality.spectral_norm_bound(products, U, Y, delta, optimality.STEPS) ** 2
    gap, inner = theta - h, B - scaled_Vh
    rounding = rounding_of_sum(max(task.m, task.n)) * UNIT * (size.norm + size.means)
    own = (float((inner * inner).sum()) ** 0.5 + rounding) ** 2
    residual = (float((C * C).sum()) ** 0.5 + rounding * size.norm) ** 2
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
    m, n, r = task.m, task.n, _TEST_VECTORS
    rank = task.rank or _rank_forecast(task, evidence)
    factors = 8.0 * 2 * rank * (m + n)
    columns = min(m, n, _columns(options, rank))
    calls = [k("gemm", m, r, n), k("gemm", m, r, rank, count=2), k("gemm", n, r, rank, count=2), k("copy", m, rank)]
    if task.dtype != "float64":  # the norm in float64, and a copy of A for what follows
        calls += [k("cast", m, n, count=2.0), k("stream", m, n)]
    if _resolves(task):
        total = Work(tuple(calls), factors + 8.0 * 4 * r * (m + n))
    else:
        calls += [k("gemm", m, n, rank), k("copy", m, n), k("stream", m, n)]
        total = Work(tuple(calls), factors + 8.0 * 3 * min(m * n, 4 * 2**20 + n))
    if task.rank is None or algorithm.safe:
        return total
    if algorithm.name == "gram":
        bound = optimality.gram_work(task, options.backend)
    else:
        seen = (k("syrk", m, columns), k("gemm", m, 2, n), k("gemm", columns, n, columns))
        bound = Work(seen) + optimality.work(replace(task, dtype="float64"), columns, options.backend)
        if task.target < _TIGHT:  # bounds from the range are not as tight: residuals of the singular vectors as well
            products = (k("gemm", n, rank, m), k("gemm", m, rank, n), k("gemm", rank, rank, m, count=5))
            bound += Work((*products, *optimality.work(replace(task, dtype="float64"), 0, options.backend).calls))
    if options.dtype != "float64":
        total += Work((k("gemm", columns, n, m), k("qr", m, columns)))
    return total + bound.holding(factors if task.dtype == "float64" else factors + 8.0 * m * n)


def _resolves(task: Task) -> bool:
    """Whether a difference of energies is likely to tell the error well enough for the target."""
    if task.rank is None:
        return task.target >= (3e-6 if task.dtype == "float64" else 1e-2)
    return task.target >= (1e-7 if task.dtype == "float64" else 3e-3)


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
    for count, value in enumerate(evidence.singular_values, 1):
        left -= value * value
        if left <= allowed:
            return count
    return max(1, min(task.m, task.n) // 4, len(evidence.singular_values))
