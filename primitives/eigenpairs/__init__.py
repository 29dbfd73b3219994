"""Eigenpairs of one end of a symmetric spectrum, by products."""

from .filtered_subspace import filtered_subspace as filtered_subspace
from .forecast import outer_iterations as outer_iterations
from .krylov_schur import Cycle as Cycle
from .krylov_schur import Pairs as Pairs
from .krylov_schur import krylov_schur as krylov_schur
from .krylov_schur import rayleigh_ritz as rayleigh_ritz
