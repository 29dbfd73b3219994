"""A lower bound on the best rank-k error from computed quantities: the certificate that an approximation is optimal.

Let Q (m, l) be orthonormal, B = Q'A, E = A - QB, and M = A A', whose k largest eigenvalues sum to
||A||_F^2 - ||A - A_k||_F^2. In the basis [Q, Qperp]

    M = [ T  C' ]      T = B B',   C = Qperp' A B',   D = Qperp' A A' Qperp,   lambda_max(D) = ||E||_2^2 <= d.
        [ C  D  ]

Theorem. For every delta > 0, M <= diag(T + C'C / delta, (d + delta) I) in the Loewner order; hence for each i the
i-th largest eigenvalue of M is at most the i-th largest of eig(T + C'C / delta) merged with m - l copies of d + delta.

Proof. With X = [C / sqrt(delta), -sqrt(delta) I],

    diag(T + C'C / delta, D + delta I) - M = [ C'C / delta   -C' ; -C   delta I ] = X'X >= 0,

and D <= d I. Eigenvalues are monotone in the Loewner order (Weyl). As it holds for every delta, each eigenvalue may
take the smallest of the bounds that a grid of delta gives.  []

So ||A - A_k||_F^2 >= ||A||_F^2 - sum_{i<=k} bound_i. It needs one more product, A B', and d, and an eigenvalue problem
for each delta. Their sum has a bound that needs none: diag(T + C'C / delta, (d + delta) I) differs from
diag(T, (d + delta) I) by a positive semidefinite matrix, so that by Ky Fan's inequality its k largest eigenvalues
exceed those of the latter by at most trace(C'C) / delta in sum. It is tried first, where that is all that is asked.

The second bound needs neither: the singular values of B interlace those of A, sigma_j(B) <= sigma_j(A), hence
||A - A_k||_F^2 >= sum_{j>k} sigma_j(B)^2. It loses nothing to cancellation and is sharp when the spectrum falls fast.

A bound d that holds with a stated probability: let Omega (n, r) be standard normal and independent of Q, and v the
leading right singular vector of E. For any odd polynomial phi, ||phi(E) Omega||_2 >= phi(||E||_2) ||v'Omega||_2, and
||v'Omega||^2 is chi-squared with r degrees of freedom: at least c with probability 1 - p, where c is its p-quantile.
On that one event the inequality holds for every phi at once, so that phi may be chosen after the fact: the scaled
Chebyshev polynomials phi(s) = T_(2t+1)(s / a), whose inverse beyond a is a cosh(arccosh(.) / (2t+1)), with the best a.
Chebyshev and block where Halko, Martinsson, Tropp, SIAM Rev. 53 (2011), lemma 4.1, has powers and single vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import chi_squared, norms
from ..kernels._library import Library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, KernelCall, Work
from . import _shared as shared
from .range_basis import Products, gaussian_columns

Array = Any

TEST_VECTORS = 12
STEPS = 2  # t: 2 t + 1 products with E
_SEED = 0xD1B54A32D192ED03  # apart from every seed that the algorithms use
DELTAS = 8
# How often the first bounds are not enough where the target is at least the second and the range as many times the rank
# as the third; small operations of either part.
_DEEP, _MODEST, _WIDE, _SMALL_OPERATIONS = 0.35, 0.02, 2.0, 300.0
_PARTS = np.array([0.015, 0.05, 0.12, 0.3, 1.0])
_CUTS = np.concatenate([np.linspace(0.4, 0.95, 12), np.linspace(0.97, 1.05, 9), np.linspace(1.1, 1.6, 6)])


def best_rank_k_lower_bound(
    products: Products,
    Q: Array,
    B: Array,
    k: int,
    norm_fro: float,
    seed: int,
    failure_probability: float,
    steps: int = STEPS,
    enough: float = math.inf,
) -> float:
    """A number that ||A - A_k||_F exceeds, up to rounding, with probability 1 - failure_probability.

    Parameters
    ----------
    products : Products
        A, in the library of Q.
    Q : (m, l) array
        Orthonormal columns, l >= 1. Any will do: the bound is valid whatever they are, and sharp when they hold the
        leading left singular vectors.
    B : (l, n) array
        Q'A.
    k : int
        Rank.
    norm_fro : float
        ||A||_F to working accuracy.
    seed : int
        Of the vectors that bound ||E||_2; Q must not depend on them (the algorithms' seeds are kept apart).
    failure_probability : float
        In (0, 1).
    steps : int
        t of the bound on ||E||_2.
    enough : float
        The bound on ||E||_2 that needs no more products (t = 0) is tried first and kept where it gives this much.

    Returns
    -------
    float
        At least 0.
    """
    m, n = products.shape
    l = Q.shape[1]
    if k >= min(m, n):
        return 0.0
    lib = products.lib
    T = _float64(lib, lib.matmul(B, B.T))
    # rounding in T, C'C and the norm, and in l eigenvalues: those that are zero come out positive as often as negative
    slack = (20.0 + 0.5 * l) * UNIT_ROUNDOFF[products.dtype] * norm_fro**2
    inside = np.maximum(_eigenvalues(lib, T), 0.0)
    found = float(inside[k:].sum()) - slack if k < l else 0.0  # by interlacing
    if found >= enough**2:
        return math.sqrt(max(found, 0.0))
    r = min(TEST_VECTORS, n)
    Omega = gaussian_columns(products, r, (seed ^ _SEED) & (2**64 - 1))
    W = products.matmul(lib.xp.concat([B.T, Omega], axis=1))
    AB, Y = W[:, :l], W[:, l:]
    Y = Y - lib.matmul(Q, lib.matmul(B, Omega))
    C = AB - lib.matmul(Q, lib.rmatmul(Q, AB))
    CC = _float64(lib, lib.rmatmul(C, C))
    residual = max(norm_fro**2 - float(np.trace(T)), 0.0)
    for t in dict.fromkeys((0, steps)):
        if found >= enough**2:
            break
        d = min(spectral_norm_bound(products, Q, Y, failure_probability, t) ** 2, residual) + slack
        at_best = _merged(inside, d, k, m - l)  # what C = 0 would give
        if t < steps and norm_fro**2 - float(at_best.sum()) - slack < enough**2:
            continue
        found = max(found, norm_fro**2 - _bound_on_sum(inside, float(np.trace(CC)), d, k, m - l) - slack)
        if found >= enough**2:
            break
        upper = _eigenvalue_bounds(lib, T, CC, inside, d, k, m - l)
        found = max(found, norm_fro**2 - float(upper.sum()) - slack)  # by the trace
    return math.sqrt(max(found, 0.0))


def from_singular_values(s: np.ndarray, k: int) -> float:
    """||A - A_k||_F when all singular values are known (full SVD)."""
    return float(norms.norm(np.ascontiguousarray(np.asarray(s, dtype=float)[k:]))) if k < len(s) else 0.0


def departure(lib: Library, G: Array) -> float:
    """||G - I||_F, from the upper triangle of G = Q'Q."""
    above, diagonal = lib.xp.triu(G, k=1), lib.xp.linalg.diagonal(G) - 1.0
    return math.sqrt(2.0 * float((above * above).sum()) + float((diagonal * diagonal).sum()))


def from_gram_eigenvectors(
    products: Products, w: Array, V: Array, k: int, norm_fro: float, seed: int, failure_probability: float
) -> float:
    """A number that ||A - A_k||_F exceeds with probability 1 - failure_probability, from all eigenvalues of A'A.

    With E = A'A - V diag(w) V', the k largest eigenvalues of A'A sum to at most (1 + ||V'V - I||) times those of w
    (Ostrowski) and sqrt(k) ||E||_F (Weyl, Ky Fan). Test vectors bound both norms: ||E X||_F^2 for a standard normal
    X (n, r) is a sum of chi-squared variables with r degrees of freedom, weighted by the squared eigenvalues of E; of
    all weights with the same sum a single one is the most likely to fall far below its mean (Roosta-Khorasani and
    Szekely, Metrika 78, 2015).

    Parameters
    ----------
    products : Products
        A, not wide, in float64.
    w : (n,) numpy array
        Any order.
    V : (n, n) array
        Eigenvectors as columns, in the order of w.
    norm_fro : float
        ||A||_F to working accuracy.
    seed : int
        V must not depend on it.
    """
    lib, n = products.lib, V.shape[0]
    V = lib.astype(V, "float64")
    r = min(TEST_VECTORS, n)
    X = gaussian_columns(products, r, (seed ^ _SEED) & (2**64 - 1))
    scales = lib.asarray(np.asarray(w, dtype=np.float64))
    VX = lib.rmatmul(V, X)
    EX = products.rmatmul(products.matmul(X)) - lib.matmul(V, scales[:, None] * VX)
    DX = lib.matmul(V, VX) - X  # V is square: ||VV' - I|| = ||V'V - I||
    quantile = chi_squared.quantile(r, 0.5 * failure_probability)
    error, apart = (math.sqrt(float((Y * Y).sum()) / quantile) for Y in (EX, DX))
    kept = float(np.sort(np.maximum(np.asarray(w, dtype=np.float64), 0.0))[::-1][:k].sum())
    slack = 20.0 * UNIT_ROUNDOFF["float64"] * norm_fro**2
    return math.sqrt(max(0.0, norm_fro**2 - (1.0 + apart) * kept - math.sqrt(k) * error - slack))


def gram_work(task: Task, backend: str) -> Work:
    """Of `from_gram_eigenvectors`: two products with r columns, and three with V."""
    m, n = shared.shape(task)
    r, k = min(TEST_VECTORS, n), Calls(backend, "float64")
    calls = (
        KernelCall("randn", (n, r), "float64", "numpy"),
        k("gemm", m, r, n),
        k("gemm", n, r, m),
        k("gemm", n, r, n, count=3),
        k("gemm", r, r, r, count=_SMALL_OPERATIONS),
    )
    return Work(calls, shared.entries("float64", 3 * n * n + (m + 4 * n) * r))


def work(task: Task, columns: int, backend: str, steps: int = STEPS) -> Work:
    """One product with l + r columns and 2 t with r, and small symmetric eigenvalue problems.

    Parameters
    ----------
    task : Task
    columns : int
        l of the range that will be at hand.
    backend : str
    """
    m, n = shared.shape(task)
    l, r = columns, min(TEST_VECTORS, n)
    k, double = Calls(backend, task.dtype), Calls(backend, "float64")
    deep = _DEEP if task.target >= _MODEST and l >= _WIDE * (task.rank or 0) else 1.0
    calls = (
        *shared.means_calls(k, task),
        KernelCall("randn", (n, r), task.dtype, "numpy"),
        k("gemm", m, l + r, n),
        k("gemm", l, l, n),
        k("gemm", l, l, m, count=2),
        k("gemm", m, l, l),
        double("qr", m, r),
        double("syevd", l, count=0.6),  # their values alone
        k("gemm", r, r, r, count=_SMALL_OPERATIONS * (1.0 + deep)),
        k("gemm", n, r, m, count=steps * deep),
        k("gemm", m, r, n, count=steps * deep),
        k("gemm", l, r, m, count=(2 * steps + 1) * deep),
        k("gemm", m, r, l, count=(2 * steps + 1) * deep),
        double("qr", m, r, count=3 * steps * deep),
        double("syevd", l, count=0.6 * (DELTAS + len(_PARTS)) * deep),
    )
    held = shared.entries(task.dtype, (n + m) * (l + r), 2 * m * l, n * l, 4 * (m + n) * r)
    return Work(calls, 1.03 * held + shared.entries("float64", (2 * (DELTAS + len(_PARTS)) + 8) * l * l) + 300_000)


def spectral_norm_bound(products: Products, Q: Array, Y: Array, failure_probability: float, steps: int) -> float:
    """An upper bound on ||E||_2, E = (I - QQ')A, that holds with probability 1 - failure_probability.

    Parameters
    ----------
    Y : (m, r) array
        E Omega for a standard normal Omega independent of Q.
    steps : int
        t: two more products each.

    Notes
    -----
    Block Lanczos on E E' from Y with full orthogonalization gives basis K and the block tridiagonal H = K' E E' K, and
    T_(2t+1)(E / a) Omega = K p(H) K'Y, so that its norm for every a costs nothing more.
    """
    lib = products.lib
    r = Y.shape[1]
    xp = lib.xp
    Y64 = lib.astype(Y, "float64")
    scale = float(xp.max(xp.abs(Y64)))
    if scale == 0.0:
        return 0.0
    basis, start = lib.qr(Y64 / scale)
    width = basis.shape[1]  # less than r where m is
    steps = min(steps, Y.shape[0] // width - 1)  # more blocks than fit in m dimensions cannot be orthonormal
    blocks, images = [basis], []
    for _ in range(steps):
        V = products.rmatmul(_back(lib, blocks[-1], Q))
        Z = products.matmul(V)
        Z = lib.astype(Z - lib.matmul(Q, lib.rmatmul(Q, Z)), "float64")
        images.append(Z)
        K = xp.concat(blocks, axis=1)
        for _ in range(3):  # where the Krylov space is exhausted Z is rounding noise, and one pass is not enough
            Z = lib.qr(Z - lib.matmul(K, lib.rmatmul(K, Z)))[0]
        blocks.append(Z)
    quantile = chi_squared.quantile(r, failure_probability)
    first = lib.to_numpy(start) * scale
    plain = float(np.linalg.norm(first, 2)) / math.sqrt(quantile)
    if not images:
        return plain
    K = xp.concat(blocks, axis=1)
    size, seen = K.shape[1], K.shape[1] - width
    H = np.zeros((size, size))
    H[:, :seen] = lib.to_numpy(lib.rmatmul(K, xp.concat(images, axis=1)))
    H[:seen, seen:] = H[seen:, :seen].T
    H = 0.5 * (H + H.T)
    largest = math.sqrt(max(float(_eigenvalues(lib, H[:seen, :seen])[0]), 0.0))
    if largest == 0.0:
        return plain
    return min(plain, _chebyshev_bound(lib, H, first, largest * (1.0 + 1e-12), steps, quantile))


def _chebyshev_bound(
    lib: Library, H: np.ndarray, first: np.ndarray, largest: float, steps: int, quantile: float
) -> float:
    """The best bound from T_(2j+1)(s / a), j = 1..steps, a = `_CUTS` times `largest`; `first` is on the first block.

    With y = s^2 / a^2, T_(2j+1)(s / a) = (s / a) p_j(y): p_0 = 1, p_1 = 4 y - 3, p_(j+1) = (4 y - 2) p_j - p_(j-1).
    Up to degree `steps` they do not see the last diagonal block of H, which is not known: it may be anything.
    """
    squares, W = (lib.to_numpy(part) for part in lib.eigh(lib.asarray(H)))
    a = largest * _CUTS
    y = squares / a[:, None] ** 2
    F = W[: len(first)].T @ first
    outer = (F[:, :, None] * F[:, None, :]).reshape(len(F), -1)  # sums of f_i f_i' are Gram matrices
    best, previous, current = math.inf, np.ones_like(y), 4.0 * y - 3.0
    for j in range(1, steps + 1):
        grams = ((current * current) @ outer).reshape(len(a), F.shape[1], F.shape[1])
        sizes = np.sqrt(np.linalg.eigvalsh(grams)[:, -1] / quantile) / a
        for cut, value in zip(a, sizes, strict=True):
            best = min(best, cut * math.cosh(math.acosh(max(float(value), 1.0)) / (2 * j + 1)))
        previous, current = current, (4.0 * y - 2.0) * current - previous
    return best


def _merged(inside: np.ndarray, outside: float, k: int, count: int) -> np.ndarray:
    """(k,) largest of `inside` and `count` times `outside`; descending, fewer where there are no more."""
    return np.sort(np.append(inside, np.full(min(count, k), outside)))[::-1][:k]


def _bound_on_sum(inside: np.ndarray, trace: float, d: float, k: int, outside: int) -> float:
    """Upper bound on the sum of the k largest eigenvalues of M, from those of T, trace(C'C) and d (Ky Fan).

    With j eigenvalues of T above d + delta it is their sum and (k - j)(d + delta) + trace / delta: between two of them
    sqrt(trace / (k - j)) is the best delta, and beyond the k-th what reaches just to it.
    """
    if outside == 0 or trace <= 0.0:
        return float(_merged(inside, d, k, outside).sum())
    leading = inside[:k]
    deltas = np.concatenate([np.sqrt(trace / (k - np.arange(len(leading)))), leading - d])
    deltas = deltas[deltas > 0.0]
    above = len(leading) - np.searchsorted(leading[::-1], d + deltas, side="right")  # how many of them
    sums = np.concatenate([[0.0], np.cumsum(leading)])
    return float((sums[above] + (k - above) * (d + deltas) + trace / deltas).min())


def _eigenvalue_bounds(
    lib: Library, T: np.ndarray, CC: np.ndarray, inside: np.ndarray, d: float, k: int, outside: int
) -> np.ndarray:
    """(k,) upper bounds on the largest eigenvalues of M, each the smallest over a few delta.

    `inside` holds the eigenvalues of T, descending. The best delta for an eigenvalue lambda > d is just below
    lambda - d; for those nearer to d, a part of d.
    """
    above = inside[:k] - d
    above = above[above > 0.02 * d]
    if len(above):
        above = above[np.unique((len(above) - 1) * (1.0 - np.linspace(0.0, 1.0, DELTAS) ** 2)).astype(int)]
    deltas = np.maximum(np.concatenate([above, d * _PARTS]), 1e-300)
    rounding = (4.0 + 2.0 * math.sqrt(len(T))) * UNIT_ROUNDOFF["float64"]
    merged = np.zeros((len(deltas), k))
    for row, delta in enumerate(deltas):
        values = _eigenvalues(lib, T + CC / delta)
        values = values + rounding * values[0]  # C'C / delta may be far larger than T
        ordered = _merged(values, d + delta, k, outside)
        merged[row, : len(ordered)] = np.maximum(ordered, 0.0)
    return merged.min(axis=0)


def _eigenvalues(lib: Library, S: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix, descending; in the library of the certificate, so that no second pool of threads wakes."""
    return lib.to_numpy(lib.eigvalsh(lib.asarray(S)))[::-1]


def _back(lib: Library, block: Array, Q: Array) -> Array:
    """A float64 block in the dtype of Q, made orthogonal to Q once more."""
    array = lib.astype(block, _name(Q))
    return array - lib.matmul(Q, lib.rmatmul(Q, array))


def _float64(lib: Any, a: Array) -> np.ndarray:
    return np.asarray(lib.to_numpy(a), dtype=float)


def _name(a: Array) -> str:
    return str(a.dtype).rpartition(".")[2]
