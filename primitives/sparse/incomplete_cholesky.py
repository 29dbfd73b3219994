"""Incomplete Cholesky factors L with L L' near a sparse symmetric positive definite A.

Left-looking, column by column (Jones and Plassmann, ACM Trans. Math. Softw. 21, 1995). Zero fill, IC(0), keeps the
pattern of A (Meijerink and van der Vorst 1977); with a threshold, ICT, small entries are dropped and the number of the
others is limited. A pivot that is not positive means that the factorization does not exist: it is made of
A + alpha diag(A) then, with alpha doubled until it does (Manteuffel, Math. Comp. 34, 1980; the start of alpha and its
doubling after Lin and More, SIAM J. Sci. Comput. 21, 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Breakdown

_FIRST_SHIFT = 1e-3
_LARGEST_SHIFT = 1e3  # by then A + alpha diag(A) is diagonally dominant, were A not of very many entries a row


@dataclass(frozen=True, slots=True)
class IncompleteCholesky:
    """L in compressed columns, rows ascending: the diagonal is the first entry of each.

    Attributes
    ----------
    start : (n + 1,) int64 array
    row : (nnz,) int32 array
    value : (nnz,) float64 array
    shift : float
        alpha: the factors are of A + alpha diag(A); 0 where A itself could be factored.
    """

    start: np.ndarray
    row: np.ndarray
    value: np.ndarray
    shift: float

    @property
    def order(self) -> int:
        """n."""
        return len(self.start) - 1

    @property
    def nbytes(self) -> int:
        """Memory that it holds [B]."""
        return self.start.nbytes + self.row.nbytes + self.value.nbytes

    def solve_lower(self, x: Any) -> np.ndarray:
        """L^-1 x, float64, for x : (n,) or (n, r)."""
        from . import _compiled

        return self._applied(x, _compiled.lower, _compiled.lower_block)

    def solve_upper(self, x: Any) -> np.ndarray:
        """L^-T x, float64, for x : (n,) or (n, r)."""
        from . import _compiled

        return self._applied(x, _compiled.upper, _compiled.upper_block)

    def solve(self, x: Any) -> np.ndarray:
        """(L L')^-1 x, float64, for x : (n,) or (n, r)."""
        return self.solve_upper(self.solve_lower(x))

    def _applied(self, x: Any, vector: Any, block: Any) -> np.ndarray:
        y = np.array(x, dtype=np.float64, order="C")
        if y.ndim not in (1, 2) or y.shape[0] != self.order:
            raise ValueError(f"x has shape {y.shape}, and L is of order {self.order}")
        (vector if y.ndim == 1 else block)(self.order, self.start, self.row, self.value, y)
        return y

    def tocsc(self) -> Any:
        """L as a scipy.sparse array."""
        import scipy.sparse as sp

        return sp.csc_array((self.value, self.row, self.start), shape=(self.order, self.order))


def incomplete_cholesky(
    A: Any, drop: float | None = None, fill: float = 10.0, *, shift: float = 0.0
) -> IncompleteCholesky:
    """The incomplete factor of A in the order in which it is given.

    Parameters
    ----------
    A : (n, n) scipy.sparse array or matrix
        Real and symmetric; only its lower triangle is read.
    drop : float, optional
        Entries of L (before division by the pivot) below this times the 1-norm of their column of the lower triangle
        of A are dropped. None: zero fill.
    fill : float, default 10.0
        With `drop`: entries that a column may have beyond those of A, at most.
    shift : float, default 0.0
        The alpha to begin with.

    Raises
    ------
    ValueError
        If A is no square real sparse matrix, or an argument makes no sense.
    Breakdown
        If a diagonal entry of A is not positive, an entry is not finite, or no shift helps.
    """
    import scipy.sparse as sp

    if not sp.issparse(A) or A.ndim != 2 or A.shape[0] != A.shape[1] or A.dtype.kind not in "fiub":
        raise ValueError("A must be a square real scipy.sparse array")
    if drop is not None and not 0.0 <= drop < np.inf:
        raise ValueError(f"drop = {drop!r} must be finite and not negative")
    if not 0.0 <= fill < np.inf:
        raise ValueError(f"fill = {fill!r} must be finite and not negative")
    if not 0.0 <= shift < np.inf:
        raise ValueError(f"shift = {shift!r} must be finite and not negative")
    from . import _compiled

    lower: Any = sp.tril(A, format="csc")
    lower.sum_duplicates()  # sorts the rows too
    n = A.shape[0]
    a_start, a_row = lower.indptr.astype(np.int64), lower.indices.astype(np.int32)
    a_value = lower.data.astype(np.float64)
    if not np.isfinite(a_value).all():
        raise Breakdown("an entry of A is not finite")
    first = a_start[:-1]
    full = a_start[1:] > first
    diagonal = full.all() and (a_row[first] == np.arange(n)).all() and (a_value[first] > 0.0).all()
    if not diagonal:
        raise Breakdown("a diagonal entry of A is not positive: A is not positive definite")
    room = len(a_row) if drop is None else len(a_row) + int(fill) * n
    start, row, value = np.empty(n + 1, dtype=np.int64), np.empty(room, dtype=np.int32), np.empty(room)
    failed = np.empty(2, dtype=np.int64)
    while True:
        _compiled.factor(
            n, a_start, a_row, a_value, shift, drop is None, drop or 0.0, int(fill), start, row, value, failed
        )
        if failed[0] < 0:
            break
        shift = max(_FIRST_SHIFT, 2.0 * shift)
        if shift > _LARGEST_SHIFT:
            pivot = int(failed[0]) + 1
            raise Breakdown(f"there is no incomplete Cholesky factor: pivot {pivot} is not positive", pivot=pivot)
    used = int(start[-1])
    if used < room:
        row, value = row[:used].copy(), value[:used].copy()
    return IncompleteCholesky(start, row, value, shift)
