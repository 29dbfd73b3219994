"""Eigenpairs of a symmetric A: small residuals, orthonormal vectors, and that none was missed.

Let R = A V - V diag(w). With a smallest singular value s of V there are k eigenvalues of A, counted with their
multiplicities, that pair with the w such that |lambda_j - w_j| <= rho = ||R|| / s (Kahan 1967; Cao, Xie and Li, Linear
Algebra Appl. 245, 1996, theorem 2.1: the constant is one). The metric is the largest ||A v - w v|| / (||v|| ||A||),
||A|| from below.

That these k are those that were asked for, one of three ways shows. Which of them, prices decide: the run goes on for
about as long as a factorization would take, and for a part of that where the w lie so close that it looks hopeless.

- A Lanczos run from an independent random start on A deflated by V, (I - P) A (I - P) with P = V (V'V)^-1 V'. A Ritz
  value beyond w_k proves that a pair is missing. An eigenvalue beyond x has at most a weight in the spectral measure of
  the start that the recurrence bounds, and with probability 1 - delta no less than pi delta^2 / (2 n): where the bound
  has fallen below half of that at w_k and what is allowed for, none is there (`primitives.eigenpairs.beyond` has the
  formulas and where they come from). Where the steps end before, the x is told at which it has. The basis is not kept:
  the values are those of exact steps on a matrix of clusters about the eigenvalues (Greenbaum, Linear Algebra Appl.
  113, 1989), which have no less weight.
- For the ends of a dense matrix, Cholesky. If x I - A + V_j S V_j' with j of the v and S >= 0 is positive definite, A
  has at most j eigenvalues from x on, whatever V is: the term of rank j lifts no more than so many. It is, if the
  factorization of that matrix less c I comes to an end, where c covers rounding: (n + 1) u / (1 - (n + 2) u) times its
  trace (Rump, BIT 46, 2006, theorem 2.3), and that of forming it. x lies in a gap of the w, j of which are beyond it.
  At the other end signs change.
- An inertia count. A symmetric factorization L D L' of A - x I has as many negative pivots as A has eigenvalues below x
  (Sylvester): by LAPACK's Bunch-Kaufman for dense matrices, by SuperLU for sparse ones, which is of use only where all
  pivots stayed on the diagonal. x lies in a gap of the w, and the count beyond x must be that of the w. The
  factorization is exact for a matrix within e of A - x I: | A - x I - L D L' | <= g |L| |D| |L'|, which is computed
  (Higham 2002, sec. 10.1, 11.1, with 8 sqrt(m) u for m terms: Higham and Mary 2019, theorem 2.4), and what U lacks of
  D L' besides. By Weyl, the count is right for eigenvalues further than e from x.

Eigenvalues of A are within rho of those of diag(w) and of the deflated matrix together (Weyl), so that each w_j is
right to rho and what the count or the run leaves. What is beyond w_k by less than the target, or by less than twice
rho, is not held to be missing: eigenvalues that close are not told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ...primitives.algorithm import Breakdown
from ...primitives.eigenpairs import beyond
from ...primitives.eigenpairs._common import Symmetric, copy_bytes, product_bytes, wanted
from ...primitives.eigenpairs.arpack_shift_invert import factored
from ...primitives.evidence import Evidence
from ...primitives.sparse_linear_system import superlu
from ...primitives.sparse_linear_system._common import reading, vectors
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, Work
from ...probes.sparse_structure import differences
from ..certificate import Certificate
from .linear_system import rounding_of_residual
from .products import UNIT

METRIC = "residual"
STEPS, _MORE_STEPS = 120, 400  # of the Lanczos run, where nothing can be factored; where that is foreseen to do
_LONGEST = 3000  # otherwise
# Seconds, about: Python in a step of it, and memory; operations of factorizations, entries of sparse factors, the rest.
_IN_STEP, _PER_BYTE, _PER_FLOP, _PER_ENTRY, _SPARSE = 25e-6, 5e-11, 1e-10, 5e-8, 1.5e-3
_ALONE = 0.01  # gap over ||A|| that is supposed beyond a single pair
_FORESEEN = 1.5  # times the steps of the formula, whose gap is the mean one of the w
_TRIED, _FEWEST = 0.25, 8  # of the steps that pay, where more are foreseen, unless that is too few
_USUAL = 40.0, 80.0  # steps that do in most cases: for large eigenvalues, and for small ones
_LITTLE = 0.25  # of the spectrum: a run that excludes only what is further beyond says too little
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
        return _frobenius(differences(A, A.T.tocsr())), _frobenius(A.data)
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
    complete, what, sure = _none_missing(
        product, V, w, task, evidence, slack, norm, frobenius, difference, order, seed, confidence
    )
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


# -- that none is missing ----------------------------------------------------------------------------------------------


def _none_missing(
    product: Symmetric, V: np.ndarray, w: np.ndarray, task: Task, evidence: Evidence, slack: float, norm: float,
    frobenius: float, difference: float, order: Any, seed: int, confidence: float,
) -> tuple[bool, str, float]:  # fmt: skip
    """Whether none is missing, or seen to be, the sentence, and the confidence."""
    numbers = _numbers(w, task.which, slack)
    delta = (1.0 - confidence) / max(1, len(numbers))
    counts = by_count(task, evidence)
    run = _Run(product, V, w, task, numbers, beyond.enough(task.n, delta), norm, seed)
    steps = _worth(w, task, evidence, norm, run.enough)
    if numbers and steps:
        run.go(steps)
        if run.told or not counts:
            return run.verdict(slack, confidence)
    if counts:
        if task.access == "dense" and task.which != "SM":
            return (*_lifted(product.A, V, w, task.which, slack, norm, frobenius), 1.0)
        counted = _counted(product, w, task, slack, norm, difference, order)
        if counted is not None:
            return (*counted, 1.0)
    if not numbers:
        return False, "a pair inside of the spectrum cannot be excluded", 1.0
    run.go(STEPS)
    return run.verdict(slack, confidence)


def _numbers(w: np.ndarray, which: str, slack: float) -> list[tuple[float, float]]:
    """(1, x) where none may be above x, (-1, x) where none may be below. Empty where that is not of ends."""
    last = float(w[-1])
    if which == "SM":  # where all of the spectrum is on one side of zero, one of its ends
        which = "SA" if float(w.min()) >= -slack else "LA" if float(w.max()) <= slack else which
    return {
        "LA": [(1.0, last + slack)],
        "SA": [(-1.0, last - slack)],
        "LM": [(1.0, abs(last) + slack), (-1.0, -abs(last) - slack)],
        "SM": [],
    }[which]


def _worth(w: np.ndarray, task: Task, evidence: Evidence, norm: float, enough: float) -> int:
    """Steps of the run: at most about what a factorization takes, and fewer where those are unlikely to do.

    Where nothing can be factored, as many as are foreseen to do, if that is not far more than the usual number.
    """
    k = len(w)
    gap = (float(w.max()) - float(w.min())) / (k - 1) / norm if k > 1 else _ALONE
    foreseen = _FORESEEN * math.log(enough) / (4.0 * math.sqrt(max(gap, 1e-16)))
    if not by_count(task, evidence):
        return max(STEPS, math.ceil(foreseen)) if foreseen <= _MORE_STEPS else STEPS
    most = _pays(task, evidence)
    if foreseen > most:
        most = _TRIED * most if _TRIED * most >= _FEWEST else 0.0
    return min(int(most), _LONGEST)


def _pays(task: Task, evidence: Evidence) -> float:
    """Steps of the run that take about as long as the factorizations."""
    k, n = wanted(task), task.n
    one = _IN_STEP + _PER_BYTE * (product_bytes(task, evidence) + 8.0 * n * (10.0 + 2.0 * k))
    if task.access == "dense":
        other = _PER_FLOP * n**3 / 3.0 + 3.0 * _PER_BYTE * 8.0 * n * n
    else:
        entries, flops = superlu.fill(task, evidence).median, superlu.flops(task, evidence).median
        other = _SPARSE + _PER_ENTRY * entries + _PER_FLOP * flops
    return other / one * (2.0 if task.which in ("LM", "SM") else 1.0)


# -- factorizations ----------------------------------------------------------------------------------------------------


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
    slack = max(slack, _MARGIN * norm, 4.0 * worst)
    x, least = _in_a_gap(keys, outward, slack)
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


def _in_a_gap(keys: np.ndarray, outward: bool, slack: float) -> tuple[float, float]:
    """Where to count, and the last of the keys: the nearest one to those that are not wanted.

    From the last inwards to the end, up to a gap: what is beyond it must be known one by one.
    """
    least = float(keys.min()) if outward else float(keys.max())
    sign = 1.0 if outward else -1.0
    x = least + sign * 2.5 * slack
    while (near := keys[np.abs(keys - x) <= 2.0 * slack]).size:
        x = (float(near.max()) if outward else float(near.min())) + sign * 2.5 * slack
    return x, least


def _lifted(
    A: np.ndarray, V: np.ndarray, w: np.ndarray, which: str, slack: float, norm: float, frobenius: float
) -> tuple[bool, str]:
    """Whether none is missing at the wanted end, or at both, by Cholesky; and the sentence."""
    import scipy.linalg

    n, lapack = len(A), cast(Any, scipy.linalg.lapack)
    slack = max(slack, _MARGIN * norm, 8.0 * n * (n + 2.0) * UNIT * norm)
    keys = np.abs(w) if which == "LM" else w
    x, least = _in_a_gap(keys, which != "SA", slack)
    reach = abs(x - least)
    for sign in {"LA": (1.0,), "SA": (-1.0,), "LM": (1.0, -1.0)}[which]:
        at = sign * abs(x) if which == "LM" else x
        mine = sign * (w - at) > 0.0
        lift = 2.0 * np.abs(w[mine] - at)
        M = (V[:, mine] * lift) @ V[:, mine].T
        M -= sign * A
        diagonal = np.einsum("ii->i", M)
        diagonal += sign * at
        trace = float(np.abs(diagonal).sum())
        formed = (len(lift) + 4.0) * (frobenius + abs(at) + 2.0 * float(lift.sum()))
        c = UNIT * (1.01 * (n + 1.0) * trace + 2.0 * formed)
        diagonal -= c
        if lapack.dpotrf(M.T, lower=1, clean=0, overwrite_a=1)[1]:
            return False, f"beyond {at:.6g} a factorization finds more eigenvalues than {len(lift)}: a pair is missing"
        reach = max(reach, abs(x - least) + c)
    return True, f"a Cholesky factorization: none is missing by more than {reach / norm:.1e} ||A||"


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


class _Run:
    """The run that looks beyond some numbers, on A deflated by V."""

    def __init__(
        self, product: Symmetric, V: np.ndarray, w: np.ndarray, task: Task, numbers: Sequence[tuple[float, float]],
        enough: float, norm: float, seed: int,
    ) -> None:  # fmt: skip
        self.enough, self.told = enough, False
        self._product, self._V, self._w, self._n, self._numbers = product, V, w, task.n, numbers
        self._norm, self._seed = norm, seed
        self._seen: beyond.Seen | None = None

    def go(self, steps: int) -> None:
        """So many steps, unless there have been as many."""
        if self._seen is not None and len(self._seen.alphas) >= steps:
            return
        V = self._V
        dual = V @ np.linalg.inv(V.T @ V)  # near V

        def outside(v: np.ndarray) -> np.ndarray:
            return v - dual @ (V.T @ v)

        start = outside(np.random.default_rng(np.random.Philox(key=self._seed)).standard_normal(self._n))
        self._seen = beyond.look(self._product, outside, start, self._numbers, self.enough, steps)
        self.told = self._seen.crossed or self._seen.shown

    def verdict(self, slack: float, confidence: float) -> tuple[bool, str, float]:
        """Whether none is seen to be missing, the sentence, and the confidence."""
        seen, last = self._seen, float(self._w[-1])
        assert seen is not None
        low, high = seen.ends()
        if seen.crossed:
            value = max((high, low), key=lambda v: max(sign * (v - x) for sign, x in self._numbers))
            told = f"an independent Lanczos run finds {value:.6g} beside w_k = {last:.6g}: a pair is missing"
            return False, told, 1.0
        reach = slack
        if not seen.shown:
            reach += max(sign * (seen.reach(sign, self.enough) - x) for sign, x in self._numbers)
            if reach > _LITTLE * max(high - low, slack):
                return False, f"{len(seen.alphas)} Lanczos steps say too little of what may be missing", 1.0
        far = f"{reach / self._norm:.1e} ||A||"
        return True, f"an independent Lanczos run: none is missing that is further from w_k than {far}", confidence


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
    counts = by_count(task, evidence)
    if task.which != "SM" or not counts:
        usual = _USUAL[task.which in ("SA", "SM")]
        steps = min(usual, _pays(task, evidence)) if counts else STEPS
        calls += [
            reading(product_bytes(task, evidence) + _IN_STEP / _PER_BYTE, steps),
            vectors(n, 10.0 * steps),
            reading(16.0 * n * k, steps),
        ]
    if not counts:
        return Work(tuple(calls), held)
    if task.access == "dense":
        if task.which == "SM":
            calls += [Calls("scipy", "float64")("sytrf", n, count=2.0), reading(8.0 * n * n, 16.0)]
        return Work(tuple(calls), held + 8.0 * n * n * 4.0)
    factor = superlu.work(task, evidence, superlu.Settings())
    if task.which == "SM":
        calls.append(superlu.ordering(task))
        calls += [call._replace(count=call.count * 3.0) for call in factor.calls]
    return Work(tuple(calls), held + 2.0 * factor.peak_bytes, factor.spread if task.which == "SM" else 2.0)


__all__ = ["METRIC", "asymmetry", "by_count", "certify", "resolution", "symmetric_enough", "work"]
