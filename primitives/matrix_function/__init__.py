"""Functions of a symmetric matrix, whole or applied to vectors. One file for each algorithm."""

from __future__ import annotations

from ..algorithm import Algorithm
from . import cholesky, eigendecomposition, lanczos, polynomial

ALGORITHMS: tuple[Algorithm, ...] = (
    eigendecomposition.ALGORITHM,
    cholesky.ALGORITHM,
    lanczos.ALGORITHM,
    polynomial.ALGORITHM,
)
