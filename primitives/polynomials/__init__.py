"""Polynomials of a matrix: the recurrence that runs them, and classical ways to choose their coefficients."""

from .filters import chebyshev_filter as chebyshev_filter
from .filters import minimax_filter as minimax_filter
from .filters import power as power
from .inverse import chebyshev as chebyshev
from .inverse import gmres_roots as gmres_roots
from .inverse import harmonic_ritz_values as harmonic_ritz_values
from .inverse import leja_order as leja_order
from .inverse import neumann as neumann
from .inverse import ritz_least_squares as ritz_least_squares
from .recurrence import Recurrence as Recurrence
from .recurrence import from_chebyshev as from_chebyshev
from .recurrence import from_roots as from_roots
