"""Algorithms for systems A x = b with a sparse A, or one of which there are only products. One file each."""

from __future__ import annotations

from ..algorithm import Algorithm
from . import cg_ichol, cg_ichol_polynomial, cg_jacobi, cg_multigrid, cg_polynomial, dense_lu, gmres, minres, superlu
from ._common import SYMMETRIC

__all__ = ["ALGORITHMS", "SYMMETRIC"]

ALGORITHMS: tuple[Algorithm, ...] = (
    superlu.ALGORITHM,
    cg_jacobi.ALGORITHM,
    cg_ichol.ALGORITHM,
    cg_ichol_polynomial.ALGORITHM,
    cg_multigrid.ALGORITHM,
    cg_polynomial.ALGORITHM,
    minres.ALGORITHM,
    gmres.ALGORITHM,
    dense_lu.ALGORITHM,
)
