"""Operands for kernels on trial: Gaussian ones to time with, structured ones to check with."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

Arrays = tuple[Any, ...]

_BLOCK = 2**20 + 7  # prime: rows of a tiled buffer never line up, so that its matrices keep full rank


class Source(Protocol):
    """Where the inputs of a kernel come from: a real (C-ordered) array of any shape in float64 or float32."""

    def __call__(self, *shape: int, dtype: str) -> np.ndarray: ...


class GaussianOperands:
    """Gaussian operands, handed out as views of one buffer per dtype.

    Timing hundreds of shapes needs numbers, not independence: a block of 2^20 normals is repeated as often as the
    largest operand asks. Operands handed out one after the other do not overlap where the buffer is long enough.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Entries of the largest operand expected; a larger one makes its buffer grow.
    """

    def __init__(self, rng: np.random.Generator, size: int = 0) -> None:
        self._block = rng.standard_normal(_BLOCK)
        self._size = size
        self._buffers: dict[str, np.ndarray] = {}
        self._offset = 0

    def __call__(self, *shape: int, dtype: str) -> np.ndarray:
        size = math.prod(shape)
        buffer = self._buffers.get(dtype)
        if buffer is None or buffer.size < size:
            block = self._block.astype(dtype)
            buffer = self._buffers[dtype] = np.tile(block, math.ceil(1.1 * max(size, self._size, _BLOCK) / _BLOCK))
        if self._offset + size > buffer.size:
            self._offset = 0
        view = buffer[self._offset : self._offset + size].reshape(shape)
        self._offset += -(-size // 512) * 512
        return view


class StructuredOperands:
    """Operands with structure that a Gaussian matrix lacks: graded columns, uneven rows, a common mean.

    Condition numbers are about 100, so that a correct float32 kernel stays far below the tolerance.
    """

    def __call__(self, *shape: int, dtype: str) -> np.ndarray:
        m, n = shape if len(shape) == 2 else (shape[0], 1)
        i, j = np.arange(m)[:, None], np.arange(n)[None, :]
        cosines = np.cos(np.pi * (i + 0.5) * (j + 1) / max(m, n, 2))
        A = cosines * 10.0 ** (-j / n) * np.where(i % 7 == 3, 4.0, 1.0) + 0.05
        return A.reshape(shape).astype(dtype)


def _spd(source: Source, n: int, dtype: str) -> np.ndarray:
    """Symmetric positive definite (n, n), in the memory order that a Gram matrix has in LAPACK."""
    A = source(n, n, dtype=dtype)
    upper = np.triu(A)
    G = np.asfortranarray(upper + upper.T)
    np.fill_diagonal(G, 2.0 * n * float(np.max(np.abs(A[: min(n, 64), : min(n, 64)]))) + 1.0)
    return G


def _symmetric(source: Source, n: int, dtype: str) -> np.ndarray:
    """Symmetric indefinite (n, n)."""
    A = source(n, n, dtype=dtype)
    S = A + A.T
    S[np.arange(n), np.arange(n)] += np.where(np.arange(n) % 2 == 0, 1.0, -1.0) * 4.0
    return S


def _nonsingular(source: Source, n: int, dtype: str, shift: float = 3.0) -> np.ndarray:
    """General square (n, n), moved away from singular by a multiple of the identity."""
    A = source(n, n, dtype=dtype).copy()
    A[np.arange(n), np.arange(n)] += shift
    return A


def _right_hand_side(source: Source, n: int, r: int, dtype: str) -> np.ndarray:
    """(n,) where r is 1, else (n, r): as users give them."""
    return source(n, dtype=dtype) if r == 1 else source(n, r, dtype=dtype)


# -- what each kernel takes --------------------------------------------------------------------------------------------


def matrix(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return (source(m, n, dtype=dtype),)


def square(source: Source, dtype: str, n: int) -> Arrays:
    return (source(n, n, dtype=dtype),)


def other_dtype(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return (source(m, n, dtype="float32" if dtype == "float64" else "float64"),)


def two_matrices(source: Source, dtype: str, m: int, n: int, k: int) -> Arrays:
    return source(m, k, dtype=dtype), source(k, n, dtype=dtype)


def matrix_and_x(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return source(m, n, dtype=dtype), source(n, dtype=dtype)


def matrix_and_y(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return source(m, n, dtype=dtype), source(m, dtype=dtype)


def positive(source: Source, dtype: str, n: int) -> Arrays:
    return (_spd(source, n, dtype),)


def general(source: Source, dtype: str, n: int) -> Arrays:
    return (_nonsingular(source, n, dtype),)


def indefinite(source: Source, dtype: str, n: int) -> Arrays:
    return (_symmetric(source, n, dtype),)


def positive_and_rhs(source: Source, dtype: str, n: int, r: int) -> Arrays:
    return _spd(source, n, dtype), _right_hand_side(source, n, r, dtype)


def general_and_rhs(source: Source, dtype: str, n: int, r: int) -> Arrays:
    return _nonsingular(source, n, dtype), _right_hand_side(source, n, r, dtype)


def indefinite_and_rhs(source: Source, dtype: str, n: int, r: int) -> Arrays:
    return _symmetric(source, n, dtype), _right_hand_side(source, n, r, dtype)


def positive_and_matrix(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return _spd(source, n, dtype), source(m, n, dtype=dtype)


def least_squares(source: Source, dtype: str, m: int, n: int, r: int) -> Arrays:
    return source(m, n, dtype=dtype), _right_hand_side(source, m, r, dtype)


def banded(source: Source, dtype: str, n: int, kl: int, ku: int, r: int) -> Arrays:
    A = _nonsingular(source, n, dtype, shift=4.0 * (kl + ku))
    return A, _right_hand_side(source, n, r, dtype)


def nothing(source: Source, dtype: str, m: int, n: int) -> Arrays:
    return ()


def tall(source: Source, dtype: str, m: int, n: int, *sketch: int) -> Arrays:
    return (source(m, n, dtype=dtype),)
