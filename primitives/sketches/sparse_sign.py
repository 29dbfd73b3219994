"""Sparse sign sketch (SparseStack, OSNAP): a few random signs in every column.

S stacks z blocks of about l/z rows. In each block every column has one nonzero, +-1/sqrt(z), in a uniformly
random row: exactly z nonzeros, never two in one place.

Cost: z m n additions in one pass over A, memory-bound for small z. At equal l about as good as a Gaussian
for z = 8; z = 4 is acceptable for l >= 4 d; z = 1 (CountSketch) merges coherent rows and is singular on unit
vectors at any l in use.

Guarantee: an oblivious subspace injection at l = O(d), z = O(log d).

References: Kane, Nelson, "Sparser Johnson-Lindenstrauss transforms", J. ACM 61 (2014)
(doi:10.1145/2559902); Camaño, Epperly, Meyer, Tropp, "Faster linear algebra algorithms with structured
random matrices" (arXiv:2508.21189), SparseStack.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import as_dtype_of, computed, computed_dtype, library_of, on_host, real_dtype
from ._sketch import Sketch
from .philox import STREAM_SPARSE_SIGN, split_key, words

Array = Any

_BLOCK_ENTRIES = 1 << 20  # what is converted at a time, where A is not float64 or float32
MAXIMUM_ROWS = 1 << 26  # positions are drawn from 31 bits


@dataclass(frozen=True, slots=True)
class SparseSignSketch(Sketch):
    """Random signs, `nonzeros` in each column (l where l is smaller)."""

    nonzeros: int = 8

    def __post_init__(self) -> None:
        super(SparseSignSketch, self).__post_init__()
        if operator.index(self.nonzeros) < 1:
            raise ValueError(f"a sparse sign sketch needs at least 1 nonzero per column, got {self.nonzeros}")
        if self.l > MAXIMUM_ROWS:
            raise ValueError(f"a sparse sign sketch has at most {MAXIMUM_ROWS} rows, got {self.l}")
        object.__setattr__(self, "nonzeros", min(self.nonzeros, self.l))

    def nonzero_entries(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and signs of the nonzeros of columns start <= j < stop.

        Returns
        -------
        rows, signs : (nonzeros, stop - start) int64 and int8 arrays
            rows[k] lies in block k: floor(k l / z) <= row < floor((k + 1) l / z).
        """
        z = self.nonzeros
        bits = words(self.seed, start, stop, z, STREAM_SPARSE_SIGN)
        edges = np.array([k * self.l // z for k in range(z + 1)], dtype=np.uint64)
        heights = (edges[1:] - edges[:-1])[:, None]
        high = (bits >> np.uint32(1)).astype(np.uint64)
        rows = edges[:-1, None] + (high * heights >> np.uint64(31))
        signs = 1 - 2 * (bits & np.uint32(1)).astype(np.int8)
        return rows.astype(np.int64), signs

    def to_sparse(self, start: int = 0, stop: int | None = None, dtype: Any = None) -> Any:
        """Columns start <= j < stop as a scipy.sparse CSC array."""
        from scipy.sparse import csc_array

        stop = self.m if stop is None else stop
        rows, signs = self.nonzero_entries(start, stop)
        z, count = rows.shape
        values = signs.T.astype(dtype or self.dtype).reshape(-1)
        values *= 1.0 / math.sqrt(z)
        pointers = np.arange(0, z * count + 1, z)
        return csc_array((values, rows.T.reshape(-1), pointers), shape=(self.l, count))

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns start <= j < stop as a dense (l, stop - start) array."""
        return self.to_sparse(start, stop).toarray()

    def _apply(self, A: Array, start: int, threads: int | None) -> Array:
        if library_of(A) == "scipy":
            SA = (self.to_sparse(start, start + A.shape[0], real_dtype(A)) @ computed(A)).toarray()
        elif not on_host(A):
            SA = self._apply_on_device(computed(A), start)
        elif library_of(A) == "torch":
            import torch

            host = computed(A).resolve_conj().resolve_neg().numpy()
            SA = torch.from_numpy(self._apply_on_host(host, start, threads))
        else:
            SA = self._apply_on_host(A, start, threads)
        return as_dtype_of(A, SA)

    def _apply_on_host(self, A: np.ndarray, start: int, threads: int | None) -> np.ndarray:
        from ..kernels._numba import sparse_sign_apply

        def apply(B: np.ndarray, first: int) -> np.ndarray:
            key = split_key(self.seed)
            return sparse_sign_apply(B, self.l, self.nonzeros, key, STREAM_SPARSE_SIGN, first, threads)

        matrix = A.reshape(A.shape[0], -1) if A.ndim == 1 else A
        if A.dtype in (np.dtype(np.float64), np.dtype(np.float32)):
            SA = apply(matrix, start)
        else:
            # Other dtypes go through the kernel in converted blocks, complex numbers as pairs of reals.
            rows, n = matrix.shape
            SA = np.zeros((self.l, n), computed_dtype(A))
            step = max(1, _BLOCK_ENTRIES // max(n, 1))
            for i in range(0, rows, step):
                block = np.ascontiguousarray(computed(matrix[i : i + step]))
                SA.view(real_dtype(A))[...] += apply(block.view(real_dtype(A)), start + i)
        return SA.reshape(self.l, *A.shape[1:])

    def _apply_on_device(self, A: Array, start: int) -> Array:
        if library_of(A) == "cupy":
            from cupyx.scipy.sparse import csr_matrix  # pyright: ignore[reportMissingImports]

            return csr_matrix(self.to_sparse(start, start + A.shape[0], real_dtype(A)).tocsr()) @ A
        import torch

        rows, signs = self.nonzero_entries(start, start + A.shape[0])
        SA = torch.zeros((self.l, *A.shape[1:]), dtype=A.dtype, device=A.device)
        scale = 1.0 / math.sqrt(self.nonzeros)
        for row, sign in zip(rows, signs, strict=True):
            signed = torch.from_numpy(sign * scale).to(A.device, A.dtype)
            SA.index_add_(0, torch.from_numpy(row).to(A.device), A * signed.reshape(-1, *(1,) * (A.ndim - 1)))
        return SA
