"""Sketches: random operators S of shape (l, m), applied as S A, with E[S'S] = I.

    S = make_sketch("sparse_sign", l, m, seed)
    SA = S.apply(A)                      # an array of A's own library and dtype

An operator is a value: its entries depend on (kind, l, m, seed) and position only, so that blocks of
A, threads and array libraries agree, and a sketch need not be kept to be used again.

- `sparse_sign`: the default. One pass over A, 8 nonzeros per row of A.
- `gaussian`: the reference for which the theory is exact; its generation dominates its cost.
- `srtt`: random permutation, random signs, discrete cosine transform, random rows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ._sketch import Sketch
from .gaussian import GaussianSketch, gaussian_test_matrix
from .sparse_sign import SparseSignSketch
from .srtt import TrigonometricSketch

SketchKind = Literal["sparse_sign", "gaussian", "srtt"]
SKETCH_KINDS: tuple[SketchKind, ...] = ("sparse_sign", "gaussian", "srtt")


def make_sketch(kind: SketchKind, l: int, m: int, seed: int, nonzeros: int = 8, dtype: Any = np.float64) -> Sketch:
    """Random embedding of R^m into R^l.

    Parameters
    ----------
    kind : "sparse_sign" | "gaussian" | "srtt"
    l, m : int
        Rows and columns of the operator; m is the number of rows of the matrices it is applied to.
    seed : int
        In [0, 2**64). Equal seeds give equal operators.
    nonzeros : int
        Nonzeros per column, for sparse_sign; at most l are used.
    dtype : numpy dtype
        Of dense slices. `apply` keeps the dtype of its argument.

    Raises
    ------
    ValueError
        For an unknown kind, an impossible size, or an srtt with more rows than columns.
    """
    dtype = np.dtype(dtype)
    if kind == "sparse_sign":
        return SparseSignSketch(l, m, seed, dtype, nonzeros)
    if kind == "gaussian":
        return GaussianSketch(l, m, seed, dtype)
    if kind == "srtt":
        return TrigonometricSketch(l, m, seed, dtype)
    raise ValueError(f"no sketch {kind!r}: one of {', '.join(SKETCH_KINDS)}")


__all__ = [
    "SKETCH_KINDS",
    "GaussianSketch",
    "Sketch",
    "SketchKind",
    "SparseSignSketch",
    "TrigonometricSketch",
    "gaussian_test_matrix",
    "make_sketch",
]
