"""Algorithms for square dense systems A x = b. One file each; adding one is adding a file and a line here."""

from __future__ import annotations

from ..algorithm import Algorithm
from . import banded, cholesky, diagonal, ldlt, lu, mixed_cholesky, mixed_lu, qr, refined_lu, triangular
from ._common import SYMMETRIC

__all__ = ["ALGORITHMS", "SYMMETRIC"]

ALGORITHMS: tuple[Algorithm, ...] = (
    diagonal.ALGORITHM,
    triangular.ALGORITHM,
    banded.ALGORITHM,
    mixed_cholesky.ALGORITHM,
    cholesky.ALGORITHM,
    ldlt.ALGORITHM,
    mixed_lu.ALGORITHM,
    lu.ALGORITHM,
    refined_lu.ALGORITHM,
    qr.ALGORITHM,
)
