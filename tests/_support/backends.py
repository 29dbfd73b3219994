"""Backends, dtypes and memory layouts as test parameters.

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_it(backend, dtype):
        A = backend.asarray(matrix, dtype)
        ...
        result = backend.to_numpy(...)

torch and cupy are imported when first used, not when tests are collected.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest

DTYPES = ("float64", "float32")


@dataclass(frozen=True, slots=True)
class Backend:
    """Arrays of one library on one device."""

    name: str
    module: str
    device: str = "cpu"

    def __str__(self) -> str:
        return self.name

    @property
    def xp(self):
        """The array library itself."""
        return importlib.import_module(self.module)

    def dtype(self, name: str):
        return getattr(self.xp, name)

    def asarray(self, a, dtype: str | None = None):
        """Copy a numpy array (or nested list) to this backend."""
        a = np.array(a, dtype=dtype)
        if self.module == "numpy":
            return a
        if self.module == "torch":
            return self.xp.asarray(np.ascontiguousarray(a)).to(self.device)
        return self.xp.asarray(a)

    def to_numpy(self, a) -> np.ndarray:
        if self.module == "torch" and not isinstance(a, np.ndarray):
            return a.detach().cpu().numpy()
        if self.module == "cupy" and not isinstance(a, np.ndarray):
            return self.xp.asnumpy(a)
        return np.asarray(a)

    def owns(self, a) -> bool:
        """Whether an array is this backend's own kind, on its device."""
        if self.module == "numpy":
            return isinstance(a, np.ndarray)
        if self.module == "torch":
            return isinstance(a, self.xp.Tensor) and a.device.type == self.device
        return isinstance(a, self.xp.ndarray)


def _has_cuda(module: str) -> bool:
    """Whether the module sees a device. Only asked where the module is there."""
    try:
        library = importlib.import_module(module)
        if module == "torch":
            return library.cuda.is_available()
        return library.cuda.runtime.getDeviceCount() > 0
    except Exception:  # any failure of a driver means: no device
        return False


NUMPY = Backend("numpy", "numpy")
TORCH = Backend("torch", "torch")
CUPY = Backend("cupy", "cupy", "cuda")
TORCH_CUDA = Backend("torch-cuda", "torch", "cuda")


def _parameters() -> list:
    parameters = [pytest.param(NUMPY, id="numpy")]
    if find_spec("torch"):
        parameters.append(pytest.param(TORCH, id="torch"))
    for backend in (CUPY, TORCH_CUDA):
        # Asking torch for its devices costs an import of seconds, so only where the system has a driver.
        if find_spec(backend.module) and _driver_present():
            missing = not _has_cuda(backend.module)
            marks = [pytest.mark.gpu, pytest.mark.skipif(missing, reason="no CUDA device")]
            parameters.append(pytest.param(backend, id=backend.name, marks=marks))
    return parameters


def _driver_present() -> bool:
    import ctypes.util

    return any(ctypes.util.find_library(name) for name in ("cuda", "nvcuda"))


BACKENDS = _parameters()


def layouts(A) -> Iterator[tuple[str, np.ndarray]]:
    """The same numbers in every memory layout that numpy has a name for.

    Strided ones live in a buffer filled with a huge value, so that reading between the strides shows.
    """
    A = np.asarray(A)
    yield "C", np.ascontiguousarray(A)
    yield "Fortran", np.asfortranarray(A)
    buffer = np.full(tuple(3 * size for size in A.shape), 1e300 if A.dtype == np.float64 else 1e30, dtype=A.dtype)
    strided = buffer[tuple(slice(1, None, 3) for _ in A.shape)]
    strided[...] = A
    yield "strided", strided
    reversed_copy = np.ascontiguousarray(np.flip(A))
    yield "negative strides", np.flip(reversed_copy)
    readonly = A.copy()
    readonly.setflags(write=False)
    yield "read-only", readonly
    unaligned = np.frombuffer(b"\0" + A.tobytes(), dtype=np.uint8)[1:].view(A.dtype).reshape(A.shape)
    yield "unaligned", unaligned
    yield "big-endian", A.astype(A.dtype.newbyteorder(">"))
