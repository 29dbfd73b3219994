"""Peak memory of LAPACK's drivers as each library calls them, in numbers of the operands' dtype: copies and workspace.

Fitted to the resident memory of fresh processes (shapes 200000 x 30, 1200 x 1200, 600 x 6000, both memory orders).
NumPy computes float32 in float64 and returns factors through buffers of its own, which is why it takes most.
"""

from __future__ import annotations


def gelsd(backend: str, dtype: str, m: int, n: int, r: int) -> float:
    """Least squares by SVD: a copy of A, one of b with room for x, the reduced problem."""
    q, p = min(m, n), max(m, n)
    entries = m * n + 2.0 * p * r + (2.6 if m < n else 0.6) * q * q + 100.0 * q + 1500.0
    if backend == "numpy" and dtype == "float32":
        entries = 4.1 * m * n + 2.0 * (entries - m * n)
    return entries


def gels(backend: str, dtype: str, m: int, n: int, r: int) -> float:
    """Least squares by QR: a copy of A; numpy forms Q, with buffers, and factors R again to solve with it."""
    q, p = min(m, n), max(m, n)
    if backend == "numpy":
        return (8.0 if dtype == "float32" else 4.0) * (m * n + q * q) + 3.0 * p * r
    room = 2.0 if m < n or backend == "torch" else 1.0
    return m * n + room * p * r + (1.6 if m < n and backend == "torch" else 0.4) * q * q + 70.0 * q


def gelsy(backend: str, dtype: str, m: int, n: int, r: int) -> float:
    """Least squares by pivoted QR: a copy of A and one of b with room for x, blocks of 32 columns of the work space."""
    q, p = min(m, n), max(m, n)
    return m * n + 2.0 * p * r + 0.3 * q * q + 70.0 * q + 34.0 * n


def gesdd(backend: str, dtype: str, m: int, n: int) -> float:
    """Economic SVD: a copy of A, the singular vectors, workspace of the divide-and-conquer."""
    q = min(m, n)
    if backend == "numpy":
        entries = (4.0 if m < n else 3.0) * m * n + 5.4 * q * q
        return (2.3 if dtype == "float32" else 1.0) * entries
    if backend == "torch":
        return 2.7 * m * n + 4.3 * q * q
    return 2.0 * m * n + (9.7 if m < n else 5.5) * q * q


def geqrf(backend: str, m: int, n: int) -> float:
    """R of a matrix: LAPACK's copy, the triangle cut out of it and its mask."""
    return 2.2 * m * n + 70.0 * n
