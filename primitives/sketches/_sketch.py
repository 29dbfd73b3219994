"""What every sketch offers."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .philox import split_key

Array = Any


@dataclass(frozen=True, slots=True)
class Sketch(ABC):
    """Random operator S of shape (l, m) with E[S'S] = I.

    Attributes
    ----------
    l, m : int
        Rows and columns.
    seed : int
        In [0, 2**64).
    dtype : numpy dtype
        Of dense slices; `apply` keeps the dtype of its argument.
    """

    l: int
    m: int
    seed: int
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if operator.index(self.l) < 1 or operator.index(self.m) < 0:
            raise ValueError(f"a sketch needs l >= 1 rows and m >= 0 columns, got {self.l} and {self.m}")
        if self.dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
            raise ValueError(f"dense slices of a sketch are float64 or float32, not {self.dtype}")
        split_key(self.seed)

    @property
    def shape(self) -> tuple[int, int]:
        """(l, m)."""
        return self.l, self.m

    @abstractmethod
    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns start <= j < stop as a dense (l, stop - start) array, equal to that slice of the whole."""

    def to_dense(self) -> np.ndarray:
        """The whole operator as a dense (l, m) array."""
        return self.columns(0, self.m)

    def apply(self, A: Array, *, threads: int | None = None) -> Array:
        """S A.

        Parameters
        ----------
        A : (m, n) or (m,) array
            numpy, torch or cupy, in any memory order; or scipy.sparse (the result is dense). Integers
            and booleans count as float64. Not changed.
        threads : int, optional
            At most so many; all processors by default. The result does not depend on it.

        Returns
        -------
        (l, n) or (l,) array
            Of A's library, device and dtype, in C order.

        Raises
        ------
        ValueError
            If A does not have m rows.
        TypeError
            If A is of a library or dtype that the sketch cannot be applied to.
        """
        if A.ndim not in (1, 2) or A.shape[0] != self.m:
            raise ValueError(f"a sketch with {self.m} columns cannot be applied to shape {tuple(A.shape)}")
        return self._apply(A, 0, threads)

    def apply_block(self, A: Array, start: int, *, threads: int | None = None) -> Array:
        """S[:, start : start + rows] A, for A of shape (rows, n): what these rows of a larger matrix add.

        Summed over the row blocks of a matrix this is its sketch: one pass over what does not fit in memory.
        """
        if A.ndim not in (1, 2) or not 0 <= start <= start + A.shape[0] <= self.m:
            raise ValueError(
                f"rows {start} to {start + A.shape[0]} of shape {tuple(A.shape)} are not within 0 to {self.m}"
            )
        return self._apply(A, start, threads)

    def apply_right(self, A: Array, *, threads: int | None = None) -> Array:
        """A S' : (n, l), for A of shape (n, m)."""
        return self.apply(A.T, threads=threads).T

    @abstractmethod
    def _apply(self, A: Array, start: int, threads: int | None) -> Array:
        """S[:, start : start + rows] A, shapes already checked."""
