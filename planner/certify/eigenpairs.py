"""Eigenpairs of a symmetric A: small residuals, orthonormal vectors, and that none was missed.

Let R = A V - V diag(w). With a smallest singular value s of V there are k eigenvalues of A, counted with their
multiplicities, that pair with the w such that |lambda_j - w_j| <= rho = ||R|| / s (Kahan 1967; Cao, Xie and Li, Linear
Algebra Appl. 245, 1996, theorem 2.1: the constant is one). The metric is the largest ||A v - w v|| / (||v|| ||A||),
||A|| from below.

That these k are those that were asked for, one of two ways shows:

- An inertia count. A symmetric factorization L D L' of A - x I has as many negative pivots as A has eigenvalues below x
  (Sylvester): by LAPACK's Bunch-Kaufman for dense matrices, by SuperLU for sparse ones, which is of use only where all
  pivots stayed on the diagonal. x lies in a gap of the w, and the count beyond x must be that of the w. The
  factorization is exact for a matrix within e of A - x I: | A - x I - L D L' | <= g |L| |D| |L'|, which is computed
  (Higham 2002, sec. 10.1, 11.1, with 8 sqrt(m) u for m terms: Higham and Mary 2019, theorem 2.4), and what U lacks of
  D L' besides. By Weyl, the count is right for eigenvalues further than e from x.
- A Lanczos run from an independent random start on A deflated by V, (I - P) A (I - P) with P = V (V'V)^-1 V'. Its Ritz
  values are Rayleigh quotients: one beyond w_k proves that a pair is missing. If none is, then with probability
  1 - delta no eigenvalue of the deflated matrix is further from the outermost Ritz value than eps times the spread of
  its spectrum, with

      1.648 sqrt(n) exp(-sqrt(eps) (2 m - 1)) = delta

  after m steps (Kuczynski and Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992, theorem 4.2; the steps do not change
  with a shift of A). Each end takes half of delta, and the spread is at most that of the Ritz values / (1 - 2 eps). The
  basis is not kept: the values are then those of exact steps on a matrix of clusters about the eigenvalues
  (Greenbaum, Linear Algebra Appl. 113, 1989), which have no less weight.

Eigenvalues of A are within rho of those of diag(w) and of the deflated matrix together (Weyl), so that each w_j is
right to rho and what the count or the run leaves. What is beyond w_k by less than the target, or by less than twice
rho, is not held to be missing: eigenvalues that close are not told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...primitives.algorithm import Breakdown
from ...primitives.eigenpairs._common import Symmetric, copy_bytes, product_bytes, wanted
from ...primitives.eigenpairs.arpack_shift_invert import factored
from ...primitives.evidence import Evidence
from ...primitives.sparse_linear_system import superlu
from ...primitives.sparse_linear_system._common import reading, vectors
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate
from .linear_system import rounding_of_residual
from .products import UNIT

METRIC = "residual"
STEPS = 120  # of the Lanczos run
_TOOK_MOST = 0.1  # of its length, that a vector has left after a projection: it is projected again
ASYMMETRY = 8.0  # sqrt(n) u ||A||_F, within which A and A' count as equal
_COUNTED = 2500  # order up to which the inertia of a dense matrix is counted
_COUNTED_FLOPS = 3e9  # and of a sparse one, those of its factorization
_WALK = 8.0
_MARGIN = 3e-11  # of ||A||, between the w and where is counted: what rounding leaves of most factorizations
_COARSE = 1e-6  # of ||A||, beyond which a count says too little


def asymmetry(A: Any, task: Task) -> tuple[float, float]:
    """||A - A'||_F and ||A||_F of a NumPy array or sparse matrix; zeros of an operator, of which nobody knows."""
    if task.access == "operator":
        return 0.0, 0.0
    if task.access == "sparse":
        T = A.T.tocsr()  # of canonical rows: canonical itself
        alike = np.array_equal(A.indptr, T.indptr) and np.array_equal(A.indices, T.indices)
        return _frobenius(A.data - T.data if alike else (A - T).data), _frobenius(A.data)
    return _frobenius(A - A.T), _frobenius(A)


def symmetric_enough(difference: float, size: float, task: Task) -> bool:
    """Whether a difference from the transpose is rounding."""
    return difference <= ASYMMETRY * math.sqrt(task.n) * task.unit_roundoff * size


def certify(
    A: Any, value: tuple[Any, Any], task: Task, evidence: Evidence, target: float | None, default: float, *,
    order: Any, seed: int, confidence: float,
) -> Certificate:  # fmt: skip
    """Certificate of (w, V), arrays of NumPy's, of the scaled problem.

    Parameters
    ----------
    default : float
        What stands for the target where there is none.
    order : (n,) array or None
        Elimination order, where a probe has left one.
    """
    w, V = (np.asarray(part, dtype=np.float64) for part in value)
    product = Symmetric(A, task)
    difference, frobenius = asymmetry(product.A, task)

    def said(bound: float, estimate: float, sure: float, method: str, *, complete: bool) -> Certificate:
        satisfied = complete and (bound < 1.0 if target is None else bound <= target)
        return Certificate(METRIC, bound if complete else math.inf, estimate, sure, method, target, satisfied)

    def failed(why: str, estimate: float = math.inf) -> Certificate:
        return said(math.inf, estimate, 1.0, why, complete=False)

    if not (np.isfinite(w).all() and np.isfinite(V).all()):
        return failed("the answer is not finite")
    if not symmetric_enough(difference, frobenius, task):
        return failed(f"A is not symmetric: ||A - A'|| is {difference / frobenius:.1e} of ||A||")
    lengths = np.linalg.norm(V, axis=0)
    overlap = _frobenius(V.T @ V - np.eye(len(w))) + 8.0 * math.sqrt(task.n) * UNIT * len(w)
    if overlap > _allowed_overlap(task, target or default) or not (lengths > 0.5).all():
        return failed(f"the vectors are not orthonormal: V'V differs from I by {overlap:.1e}")
    found = [_residual(product, V[:, j], float(w[j])) for j in range(len(w))]  # no array of the size of V
    residuals, stretched = np.array(found).T
    norm = max(product.norm(), float(np.max(stretched / lengths)) * (1.0 - 1e-12))
    if norm == 0.0:  # of a random vector, and of those that are there
        if bool((w != 0.0).any()) or frobenius != 0.0:
            return failed("A v is zero and w is not")
        return said(0.0, 0.0, 1.0, "A is zero", complete=True)
    rounding = _unit_of(A, task) * rounding_of_residual(task.n) * (norm + float(np.abs(w).max()))
    estimate = float((residuals / lengths).max()) / norm
    bound = float(((residuals + rounding) / lengths).max()) / norm
    if not math.isfinite(bound):
        return failed("a residual is not finite")
    if not _sorted(w, task.which, bound * norm):
        return failed("the eigenvalues are not in order, those of the wanted end first", estimate)
    rho = _frobenius(residuals + rounding) / math.sqrt(1.0 - overlap) + difference
    slack = max(2.0 * rho, (default if target is None else target) * norm)
    told = f"residuals and orthogonality in float64: each w within {rho / norm:.1e} ||A|| of an eigenvalue"
    if len(w) == task.n:
        return said(bound, estimate, 1.0, f"{told}; these are all", complete=True)
    counted = None
    if by_count(task, evidence):
        counted = _counted(product, w, task, slack, norm, difference, order)
    if counted is not None:
        complete, what, sure = *counted, 1.0
    else:
        complete, what, sure = _probed(product, V, w, task, slack, norm, seed, confidence)
    return said(bound, estimate, sure, f"{told}; {what}", complete=complete)


def _residual(product: Symmetric, v: np.ndarray, w: float) -> tuple[float, float]:
    """||A v - w v|| and ||A v||."""
    v = np.ascontiguousarray(v)
    y = product(v)
    return float(np.linalg.norm(y - w * v)), float(np.linalg.norm(y))


def _allowed_overlap(task: Task, target: float) -> float:
    """Of V'V and I: what is asked for, and rounding in each of the k^2 entries; far below one."""
    return min(0.1, max(target, 0.0) + 20.0 * math.sqrt(task.n) * wanted(task) * task.unit_roundoff)


def _frobenius(x: Any) -> float:
    flat = np.ravel(x)
    return math.sqrt(float(flat @ flat))


def _unit_of(A: Any, task: Task) -> float:
    """Of the products: an operator computes in its own dtype; relative to that of float64's, as walks are."""
    return UNIT_ROUNDOFF.get(str(A.dtype), UNIT) / UNIT if task.access == "operator" else 1.0


def _sorted(w: np.ndarray, which: str, slack: float) -> bool:
    keys = {"LA": -w, "SA": w, "LM": -np.abs(w), "SM": np.abs(w)}[which]
    return bool((np.diff(keys) >= -2.0 * slack).all())


# -- the inertia count -------------------------------------------------------------------------------------------------


def by_count(task: Task, evidence: Evidence) -> bool:
    """Whether the inertia is counted."""
    if task.access == "dense":
        return task.n <= _COUNTED
    return task.access == "sparse" and (
        (task.n <= 2000 and task.nnz <= 30_000)
        or (evidence.fill_flops is not None and evidence.fill_flops.median <= _COUNTED_FLOPS)
    )


def _counted(
    product: Symmetric, w: np.ndarray, task: Task, slack: float, norm: float, difference: float, order: Any,
    worst: float = 0.0,
) -> tuple[bool, str] | None:  # fmt: skip
    """Whether none is missing, and the sentence; None where the factorization does not tell.

    `worst` is what rounding was found to leave of a first factorization.
    """
    magnitudes = task.which in ("LM", "SM")
    outward = task.which in ("LA", "LM")
    keys = np.abs(w) if magnitudes else w
    least = float(keys.min()) if outward else float(keys.max())  # of the wanted ones, the nearest to the others
    sign = 1.0 if outward else -1.0
    # from the last of them inwards to the end, up to a gap: what is beyond it must be known one by one
    slack = max(slack, _MARGIN * norm, 4.0 * worst)
    x = least + sign * 2.5 * slack
    while (near := keys[np.abs(keys - x) <= 2.0 * slack]).size:
        x = (float(near.max()) if outward else float(near.min())) + sign * 2.5 * slack
    if task.which == "SM" and x <= 0.0:
        return True, "none can be smaller in magnitude"
    inside = int((keys > x).sum() if outward else (keys < x).sum())
    below = []
    errors = 0.0
    for point in (-x, x) if magnitudes else (x,):
        counts = _below(product, point, task, order)
        if counts is None:
            return None
        below.append(counts[0])
        errors = max(errors, counts[1])
    if not errors + difference <= slack:  # once more, so far from the w that rounding does not matter
        again = worst == 0.0 and errors + difference <= _COARSE * norm
        return _counted(product, w, task, slack, norm, difference, order, errors + difference) if again else None
    n = task.n
    if magnitudes:
        within = below[1] - below[0]
        beyond = n - within if outward else within
    else:
        beyond = n - below[0] if outward else below[0]
    if beyond != inside:
        return False, f"an inertia count finds {beyond} eigenvalues where {inside} of them are: a pair is missing"
    reach = (abs(x - least) + errors + difference) / norm
    return True, f"an inertia count: none is missing by more than {reach:.1e} ||A||"


def _below(product: Symmetric, x: float, task: Task, order: Any) -> tuple[int, float] | None:
    """(number of eigenvalues of A below x, how far an eigenvalue may be from x and on its wrong side)."""
    found = _dense_below(product.A, x) if task.access == "dense" else _sparse_below(product.A, x, order)
    return None if found is None or not math.isfinite(found[1]) else found


def _dense_below(A: np.ndarray, x: float) -> tuple[int, float] | None:
    """By Bunch and Kaufman's L D L' (sytrf): a block of order two has one negative eigenvalue."""
    import scipy.linalg

    n = len(A)
    shifted = A - x * np.eye(n)
    lower, D, _ = scipy.linalg.ldl(shifted, lower=True, check_finite=False)
    main, off = np.diagonal(D).copy(), np.diagonal(D, -1)
    pairs = np.flatnonzero(off)
    single = np.ones(n, dtype=bool)
    single[pairs] = single[pairs + 1] = False
    below = int((main[single] < 0.0).sum())
    for i in pairs:
        values = np.linalg.eigvalsh(D[i : i + 2, i : i + 2])
        below += int((values < 0.0).sum())
    sizes = np.abs(lower)
    total = sizes @ (np.abs(D) @ (sizes.T @ np.ones(n)))
    return below, _factor_rounding(n) * float(total.max(initial=0.0)) + 2.0 * UNIT * abs(x)


def _sparse_below(A: Any, x: float, order: Any) -> tuple[int, float] | None:
    """By SuperLU, where it took all pivots from the diagonal: D is that of U, and U is D L' but for rounding."""
    import scipy.sparse as sp

    if order is None:
        from ...primitives.sparse import minimum_degree

        order = minimum_degree(A).order
    try:
        factors = factored(sp.csr_array(A - x * sp.eye_array(A.shape[0], format="csr")), order, 0.0)
    except Breakdown:
        return None
    if not np.array_equal(factors.perm_r, factors.perm_c):
        return None
    # U by columns is U' by rows: with as many entries at the same places as L has, unless some cancelled
    L, T = sp.csr_array(factors.L), sp.csr_array(sp.csc_array(factors.U).T)
    L.sort_indices()
    T.sort_indices()
    D = T.diagonal()
    scaled = sp.csr_array((L.data * D[L.indices], L.indices, L.indptr), shape=L.shape)
    if np.array_equal(L.indptr, T.indptr) and np.array_equal(L.indices, T.indices):
        lacking = sp.csr_array((T.data - scaled.data, L.indices, L.indptr), shape=L.shape)
    else:
        lacking = T - scaled
    L, T, lacking = abs(L), abs(T), abs(lacking)  # of U, transposed
    ones = np.ones(len(D))
    terms = float(np.diff(L.indptr).max(initial=1))
    total, other, before = L @ (T.T @ ones), L @ (lacking.T @ ones), L.T @ ones
    # the row sums of a matrix that is not symmetric bound its norm together with its column sums
    columns = T @ before, lacking @ before
    rounding = _factor_rounding(terms) * _between(total, columns[0]) + _between(other, columns[1])
    return int((D < 0.0).sum()), rounding + 2.0 * UNIT * abs(x)


def _between(rows: np.ndarray, columns: np.ndarray) -> float:
    """||E||_2 at most, from absolute row and column sums: the root of the product of the largest."""
    return math.sqrt(float(rows.max(initial=0.0)) * float(columns.max(initial=0.0)))


def _factor_rounding(terms: float) -> float:
    return min(terms + 2.0, _WALK * math.sqrt(terms + 2.0)) * UNIT * 2.0


# -- the Lanczos run ---------------------------------------------------------------------------------------------------


def resolution(n: int, steps: int, delta: float) -> float:
    """eps of Kuczynski and Wozniakowski's bound: relative to the spread of the spectrum, one end."""
    return (math.log(1.648 * math.sqrt(n) / delta) / (2.0 * steps - 1.0)) ** 2


def _probed(
    product: Symmetric, V: np.ndarray, w: np.ndarray, task: Task, slack: float, norm: float, seed: int,
    confidence: float,
) -> tuple[bool, str, float]:  # fmt: skip
    """Whether none is seen to be missing, the sentence, and the confidence."""
    dual = V @ np.linalg.inv(V.T @ V)  # near V

    def outside(v: np.ndarray) -> np.ndarray:
        return v - dual @ (V.T @ v)

    start = outside(np.random.default_rng(np.random.Philox(key=seed)).standard_normal(task.n))
    low, high, steps, exhausted = _ends(product, outside, start)
    # an invariant subspace: a random start has parts in all eigenspaces
    eps = 0.0 if exhausted else resolution(task.n, steps, 0.5 * (1.0 - confidence))
    if eps >= 0.25:
        return False, f"{steps} Lanczos steps say too little of what may be missing", 1.0
    beyond = eps * (high - low) / (1.0 - 2.0 * eps)
    which, last = task.which, float(w[-1])
    missing = {
        "LA": high > last + slack,
        "SA": low < last - slack,
        "LM": max(high, -low) > abs(last) + slack,
        "SM": _inside(low, high, w, slack),
    }[which]
    if missing:
        seen = {"LA": high, "SA": low, "LM": max(high, -low)}.get(which, low if float(w.min()) >= 0.0 else high)
        what = "a pair inside of the spectrum cannot be excluded" if which == "SM" else "a pair is missing"
        return False, f"an independent Lanczos run finds {seen:.6g} beside w_k = {last:.6g}: {what}", 1.0
    reach = (beyond + slack) / norm
    return (
        True,
        f"an independent Lanczos run: none is missing that is further from w_k than {reach:.1e} ||A||",
        confidence,
    )


def _ends(
    product: Symmetric, outside: Callable[[np.ndarray], np.ndarray], start: np.ndarray
) -> tuple[float, float, int, bool]:
    """The outermost Ritz values of A deflated, the steps that were taken, and whether the space ended with them.

    Every vector is projected when it is made, so that A alone acts on it as the deflated matrix does. Twice where the
    first time took most of it: what rounding leaves would grow.
    """
    from scipy.linalg import eigvalsh_tridiagonal

    alphas, betas = list[float](), list[float]()
    before, q = np.zeros(0), start / float(np.linalg.norm(start))
    for step in range(min(STEPS, len(start))):
        y = product(q)
        alphas.append(float(q @ y))
        y = y - alphas[-1] * q
        if step:
            y -= betas[-1] * before
        length = float(np.linalg.norm(y))
        y = outside(y)
        beta = float(np.linalg.norm(y))
        if beta < _TOOK_MOST * length:
            y = outside(y)
            beta = float(np.linalg.norm(y))
        if not math.isfinite(beta):
            raise Breakdown(f"product {step + 1} of the certificate is not finite")
        if beta <= 8.0 * UNIT * max(map(abs, (*alphas, *betas))):
            break
        betas.append(beta)
        before, q = q, y / beta
    values = eigvalsh_tridiagonal(np.array(alphas), np.array(betas[: len(alphas) - 1]))
    return float(values[0]), float(values[-1]), len(alphas), len(betas) < len(alphas)


def _inside(low: float, high: float, w: np.ndarray, slack: float) -> bool:
    """Whether smaller magnitudes may be missing: not where all of the spectrum is on one side of zero."""
    if float(w.min()) >= -slack:
        return low < float(w[-1]) - slack
    if float(w.max()) <= slack:
        return high > float(w[-1]) + slack
    return True


def work(task: Task, evidence: Evidence) -> Work:
    """Residuals, and the count or the run."""
    k, n = wanted(task), task.n
    calls = [
        reading(product_bytes(task, evidence), k + 24.0),
        vectors(n, 12.0 * k),
    ]
    held = 8.0 * n * (12.0 + (k if task.dtype != "float64" else 0)) + copy_bytes(task)
    if task.access == "dense":
        held += 8.0 * n * n  # of what is compared with its transpose
        calls.append(reading(24.0 * n * n))
    elif task.access == "sparse":
        held += 36.0 * task.nnz
        calls.append(reading(12.0 * task.nnz, 12.0))
    if n == k:
        return Work(tuple(calls), held)
    if not by_count(task, evidence):
        calls += [
            reading(product_bytes(task, evidence), STEPS),
            vectors(n, 10.0 * STEPS),
            reading(16.0 * n * k, STEPS),
        ]
        return Work(tuple(calls), held)
    if task.access == "sparse":
        calls.append(superlu.ordering(task))
    times = 2.0 if task.which in ("LM", "SM") else 1.0
    if task.access == "dense":
        calls += [Calls("scipy", "float64")("sytrf", n, count=times), reading(8.0 * n * n, 8.0 * times)]
        return Work(tuple(calls), held + 8.0 * n * n * 4.0)
    factor = superlu.work(task, evidence, superlu.Settings())
    calls += [call._replace(count=call.count * times * 1.5) for call in factor.calls]
    return Work(tuple(calls), held + 2.0 * factor.peak_bytes, factor.spread)


__all__ = ["METRIC", "asymmetry", "by_count", "certify", "resolution", "symmetric_enough", "work"]
