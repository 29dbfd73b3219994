"""Dense Gaussian sketch, and Gaussian test matrices.

Entries are independent N(0, 1/l). The theory is exact: the singular values of S U, U orthonormal with d
columns, fill [1 - sqrt(d/l), 1 + sqrt(d/l)]; sketch-and-solve has E||A(x - x*)||^2 = d/(l-d-1) ||Ax* - b||^2.

Cost: 2 l m n flops by the array's own library, and l m normal variates (about 7 ns each), which cost more
than the product for n below a few hundred. Memory: one block of S, whatever m.

Reference: Martinsson, Tropp, "Randomized numerical linear algebra", Acta Numerica 29 (2020), sections 8.3
and 8.4 (doi:10.1017/S0962492920000021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import as_dtype_of, beside, computed, library_of, real_dtype
from ._sketch import Sketch
from .philox import STREAM_GAUSSIAN, STREAM_TEST_MATRIX, normal_matrix

Array = Any


@dataclass(frozen=True, slots=True)
class GaussianSketch(Sketch):
    """Independent N(0, 1/l) entries, generated in blocks of at most `block_bytes` [B].

    The product uses as many threads as the array's library does; `threads` is not looked at. The block
    size changes the order of summation, not the operator.
    """

    block_bytes: int = 1 << 24

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns start <= j < stop as a dense (l, stop - start) array."""
        return self._columns(start, stop, self.dtype)

    def _columns(self, start: int, stop: int, dtype: np.dtype[Any]) -> np.ndarray:
        S = normal_matrix(self.seed, (0, self.l), (start, stop), dtype, STREAM_GAUSSIAN)
        S *= dtype.type(1.0 / math.sqrt(self.l))
        return S

    def _apply(self, A: Array, start: int, threads: int | None) -> Array:
        dtype = real_dtype(A)
        if library_of(A) == "scipy":
            A = A.tocsr()
        step = max(1, self.block_bytes // (self.l * dtype.itemsize))
        SA = None
        for i in range(0, max(A.shape[0], 1), step):  # once at least, for the shape of the result
            block = computed(A[i : i + step])
            S = beside(A, self._columns(start + i, start + i + block.shape[0], dtype))
            part = (block.T @ S.T).T if library_of(A) == "scipy" else S @ block
            if SA is None:
                SA = part
            else:
                SA += part
        return as_dtype_of(A, SA)


def gaussian_test_matrix(
    n: int,
    k: int,
    seed: int,
    dtype: Any = np.float64,
    xp: Any = np,
    device: Any = None,
    first_column: int = 0,
) -> Array:
    """Columns first_column ... first_column + k - 1 of the standard normal test matrix of a seed.

    Entry (i, j) depends on the seed, i and j only: a range finder that grows its sketch asks for the next
    columns, and tiles of rows agree.

    Parameters
    ----------
    n, k : int
        Rows and columns.
    seed : int
        In [0, 2**64).
    dtype : numpy dtype
        float64 or float32.
    xp : module
        Library of the result: numpy, torch or cupy.
    device : optional
        For torch, where the result shall be; the default is the host.

    Returns
    -------
    (n, k) array in Fortran order
    """
    columns = (first_column, first_column + k)
    Omega = normal_matrix(seed, columns, (0, n), dtype, STREAM_TEST_MATRIX).T
    if xp.__name__.endswith("torch"):
        import torch

        return torch.from_numpy(Omega).to(device)
    return xp.asarray(Omega)
