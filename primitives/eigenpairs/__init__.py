"""Eigenpairs of one end of a symmetric spectrum: the iterations, and the algorithms made of them. One file each."""

from __future__ import annotations

from ..algorithm import Algorithm
from . import arpack, arpack_deflated, arpack_shift_invert, chebyshev_subspace, filtered_krylov_schur, lapack, lobpcg
from .filtered_subspace import filtered_subspace as filtered_subspace
from .forecast import outer_iterations as outer_iterations
from .krylov_schur import Cycle as Cycle
from .krylov_schur import Pairs as Pairs
from .krylov_schur import krylov_schur as krylov_schur
from .krylov_schur import rayleigh_ritz as rayleigh_ritz

ALGORITHMS: tuple[Algorithm, ...] = (
    lapack.ALGORITHM,
    arpack.ALGORITHM,
    arpack_shift_invert.ALGORITHM,
    lobpcg.ALGORITHM,
    filtered_krylov_schur.ALGORITHM,
    arpack_deflated.ALGORITHM,
    chebyshev_subspace.ALGORITHM,
)
