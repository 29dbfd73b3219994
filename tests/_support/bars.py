"""LAPACK's test ratios, each formula once: an error divided by what rounding alone explains.

A backward-stable routine keeps each below its bar for every matrix; u is the unit roundoff of the dtype in
which the routine worked (taken from the first argument unless given). Norms are 1-norms, as in LAPACK, and
everything is scaled by powers of two first, so that 1e+-150 measures what 1 does. Arrays are numpy arrays;
what cannot be measured (NaN, infinity) is infinitely bad.

Source: LAPACK 3.12, TESTING/LIN and TESTING/EIG, by the routine named at each function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional

BAR = 30.0  # linear systems, QR, least squares: LAPACK's THRESH
SVD_BAR = 50.0
EIGEN_BAR = 60.0
PLANNED_BAR = 1.0  # achieved error over the accuracy that was asked for


def unit_roundoff(dtype) -> float:
    return float(np.finfo(dtype).eps) / 2


def linear_solve_ratio(A, x, b, u=None) -> float:
    """||b - A x|| / (||A|| ||x|| u), the worst column (xGET02)."""
    u = _unit(A, u)
    A, x, b = _columns(A, x, b)
    A, a = _scaled(A)
    _, e = _scaled(b if b.any() else x)
    b, x = np.ldexp(b, -e), np.ldexp(x, a - e)
    u_norm_A = u * _norm(A)
    ratios = [_ratio(_norm(c - A @ y), u_norm_A * _norm(y)) for c, y in zip(b.T, x.T, strict=True)]
    return max(ratios, default=0.0)


def forward_error_ratio(x, x_true, rcond, u=None) -> float:
    """||x - x*|| rcond / (||x*|| u) (xGET04)."""
    u = _unit(x, u)
    x_true, e = _scaled(_double(x_true))
    x = np.ldexp(_double(x), -e)
    return _ratio(_norm(x - x_true) * rcond, _norm(x_true) * u)


def componentwise_ratio(A, x, b, u=None) -> float:
    """max_i |b - A x|_i / (|A| |x| + |b|)_i / ((n + 1) u) (xGET07, xPOT05)."""
    u = _unit(A, u)
    A, x, b = _columns(A, x, b)
    A, a = _scaled(A)
    _, e = _scaled(b if b.any() else x)
    b, x = np.ldexp(b, -e), np.ldexp(x, a - e)
    above, below = np.abs(b - A @ x), np.abs(A) @ np.abs(x) + np.abs(b)
    guard = np.finfo(float).tiny * (A.shape[1] + 1) / u
    return _ratio(np.max(above / (below + guard), initial=0.0), (A.shape[1] + 1) * u)


def reconstruction_ratio(A, product, u=None) -> float:
    """||L U - A|| / (n ||A|| u), for LU, Cholesky and LDL' (xGET01, xPOT01, xSYT01)."""
    u = _unit(A, u)
    A, e = _scaled(_double(A))
    return _ratio(_norm(np.ldexp(_double(product), -e) - A), max(A.shape[1], 1) * _norm(A) * u)


def inverse_ratio(A, inverse, u=None) -> float:
    """||I - A^-1 A|| / (n ||A|| ||A^-1|| u) (xGET03)."""
    u = _unit(A, u)
    A, e = _scaled(_double(A))
    inverse = np.ldexp(_double(inverse), e)
    n = A.shape[0]
    return _ratio(_norm(np.eye(n) - inverse @ A), max(n, 1) * _norm(A) * _norm(inverse) * u)


def qr_ratio(A, Q, R, u=None) -> float:
    """||R - Q'A|| / (n ||A|| u) (xQRT01). Measure Q itself with ``orthogonality_ratio``."""
    u = _unit(A, u)
    A, e = _scaled(_double(A))
    R = np.ldexp(_double(R), -e)
    return _ratio(_norm(R - _double(Q).T @ A), max(A.shape[1], 1) * _norm(A) * u)


def orthogonality_ratio(Q, u=None) -> float:
    """||I - Q'Q|| / (m u) for orthonormal columns; pass Vh.T for rows (xORT01)."""
    u = _unit(Q, u)
    Q = _double(Q)
    return _ratio(_norm(np.eye(Q.shape[1]) - Q.T @ Q), max(Q.shape[0], 1) * u)


def lstsq_residual_ratio(A, x, b, u=None) -> float:
    """||b - A x|| / (max(m, n) ||A|| ||x|| u), for consistent systems (xQRT16)."""
    return linear_solve_ratio(A, x, b, u) / max(*np.shape(A), 1)


def lstsq_ratio(A, x, b, u=None) -> float:
    """||r'A|| / (||A|| alpha max(m, n, k) u), alpha = ||r||, or ||b|| where r is rounding (xQRT17)."""
    u = _unit(A, u)
    A, x, b = _columns(A, x, b)
    (m, n), k = A.shape, b.shape[1]
    A, a = _scaled(A)
    b, e = _scaled(b)
    r = b - A @ np.ldexp(x, a - e)
    # xQRT17 is told which of the two to take; here ||b|| is taken where the system is consistent to rounding.
    alpha = _norm(r) if _norm(r) > max(m, n) * u * _norm(b) else _norm(b)
    return _ratio(_norm(r.T @ A), _norm(A) * alpha * max(m, n, k) * u)


def minimum_norm_ratio(A, x, u=None) -> float:
    """The part of x outside the row space of A / (max(m, n, k) u) (xQRT14).

    From the triangle of QR of [A', x], both scaled to norm 1: what x adds below the rows of A.
    """
    u = _unit(A, u)
    A = _double(A)
    x = _double(x).reshape(A.shape[1], -1)
    A, x = _scaled(A)[0], _scaled(x)[0]
    m, n, k = *A.shape, x.shape[1]
    if not (np.isfinite(A).all() and np.isfinite(x).all()):
        return float("inf")
    if n <= m:
        return 0.0
    stacked = np.hstack([A.T / max(_norm(A.T), 1e-300), x / max(_norm(x), 1e-300)])
    trailing = linalg.qr(stacked, mode="r")[0][m:, m:]
    return _ratio(np.abs(trailing).max(initial=0.0), max(m, n, k) * u)


def singular_value_ratio(s, s_true, shape, u=None) -> float:
    """||s - s*|| / (||s*|| u max(m, n)) (xQRT12)."""
    u = _unit(s, u)
    s_true, e = _scaled(_double(s_true))
    s = np.ldexp(_double(s), -e)
    return _ratio(_norm(s - s_true), _norm(s_true) * u * max(*shape, 1))


def svd_ratio(A, U, s, Vh, u=None) -> float:
    """||A - U diag(s) Vh|| / (||A|| max(m, n) u); s negative or not descending is 1/u (DDRVBD 1 and 4)."""
    u = _unit(A, u)
    s = _double(s)
    if (s < 0).any() or (np.diff(s) > 0).any():
        return 1.0 / u
    A, e = _scaled(_double(A))
    product = (_double(U) * np.ldexp(s, -e)) @ _double(Vh)
    return _ratio(_norm(A - product), _norm(A) * max(*A.shape, 1) * u)


def eigen_ratio(A, w, V, u=None) -> float:
    """||A V - V diag(w)|| / (n ||A|| u) (xSTT21, xSYT21); V may hold fewer than n vectors."""
    u = _unit(A, u)
    A, e = _scaled(_double(A))
    V = _double(V)
    return _ratio(_norm(A @ V - V * np.ldexp(_double(w), -e)), max(A.shape[0], 1) * _norm(A) * u)


def range_finder_bound(shape, rank, oversampling, sigma_next) -> float:
    """||A - QQ'A||_2 of a Gaussian range finder stays below this but with probability 3 p^-p, p >= 4.

    Halko, Martinsson and Tropp, SIAM Review 53 (2011), eq. 1.9.
    """
    return (1 + 9 * np.sqrt(rank + oversampling) * np.sqrt(min(shape))) * sigma_next


def _double(a) -> np.ndarray:
    return np.asarray(a, dtype=np.float64)


def _columns(A, x, b):
    A, x, b = _double(A), _double(x), _double(b)
    return A, x.reshape(A.shape[1], -1), b.reshape(A.shape[0], -1)


def _unit(a, u) -> float:
    if u is not None:
        return u
    dtype = np.asarray(a).dtype
    return unit_roundoff(dtype if dtype.kind == "f" else np.float64)


def _scaled(a) -> tuple[np.ndarray, int]:
    largest = np.max(np.abs(a), initial=0.0)
    exponent = int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
    return np.ldexp(a, -exponent), exponent


def _norm(a) -> float:
    """1-norm of a matrix (largest column sum) or vector."""
    return float(np.max(np.sum(np.abs(a), axis=0), initial=0.0))


def _ratio(above, below) -> float:
    if not (np.isfinite(above) and np.isfinite(below)):
        return float("inf")
    if above == 0.0:
        return 0.0
    return float(above / below) if below > 0.0 else float("inf")
