"""An order of elimination with little fill, and how much that is: approximate minimum degree.

Each step eliminates a variable with the fewest neighbours left, by an upper bound on that number (Amestoy, Davis and
Duff, SIAM J. Matrix Anal. Appl. 17, 1996), on a quotient graph, with absorption of elements and without supervariables.
The counts of the factor come with it, exact for Cholesky without cancellation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Elimination:
    """
    Attributes
    ----------
    order : (n,) int32 array
        order[k] is the k-th pivot.
    counts : (n,) int64 array
        Entries below the diagonal of the columns of the Cholesky factor of A[order][:, order].
    """

    order: np.ndarray
    counts: np.ndarray

    @property
    def fill(self) -> float:
        """Nonzeros of L + U."""
        return float(2 * self.counts.sum() + len(self.counts))

    @property
    def flops(self) -> float:
        """Operations of an LU factorization with pivots from the diagonal."""
        counts = self.counts.astype(np.float64)
        return float((2.0 * counts * counts + counts).sum())


def minimum_degree(A: Any) -> Elimination:
    """The order for the pattern of A + A'.

    Parameters
    ----------
    A : (n, n) scipy.sparse array or matrix

    Raises
    ------
    ValueError
        If A is no square sparse matrix.
    """
    import scipy.sparse as sp

    if not sp.issparse(A) or A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError("A must be a square scipy.sparse array")
    from . import _compiled

    n = A.shape[0]
    coo = sp.coo_array(A)
    off = coo.row != coo.col
    i, j = coo.row[off], coo.col[off]
    ones = np.ones(2 * len(i), dtype=np.int8)
    pattern = sp.csr_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n))
    pattern.sum_duplicates()
    order, counts = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int64)
    start, adjacent = pattern.indptr.astype(np.int64), pattern.indices.astype(np.int32)
    _compiled.minimum_degree(n, start, adjacent, order, counts)
    return Elimination(order, counts)
