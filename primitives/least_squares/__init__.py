"""Least squares: min ||b - A x||^2 + ridge ||x||^2, A of any shape, one or several right-hand sides.

`ALGORITHMS` lists what can be run, the deterministic ones first. Adding one is adding a file and a line here.
"""

from __future__ import annotations

from . import (
    normal_equations,
    pivoted_qr,
    qr,
    randomized_cholesky_qr,
    sketch_and_solve,
    spir,
    svd,
)
from ._sketched import SketchedFactor

ALGORITHMS = (
    svd.ALGORITHM,
    qr.ALGORITHM,
    pivoted_qr.ALGORITHM,
    normal_equations.ALGORITHM,
    randomized_cholesky_qr.ALGORITHM,
    spir.ALGORITHM,
    sketch_and_solve.ALGORITHM,
)

__all__ = ["ALGORITHMS", "SketchedFactor"]
