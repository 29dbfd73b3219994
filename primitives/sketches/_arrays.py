"""What the sketches need to know of arrays of several libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

_WIDE = {"float16": "float32", "bfloat16": "float32", "complex32": "complex64", "bool": "float64"}
_COMPUTED = ("float64", "float32", "complex128", "complex64")


def library_of(A: Array) -> str:
    """Library of an array: "numpy", "torch", "cupy" or "scipy" (sparse).

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(A, np.ndarray):
        return "numpy"
    name = type(A).__module__.partition(".")[0]
    if name in ("torch", "cupy") or (name == "scipy" and hasattr(A, "tocsr")):
        return name
    raise TypeError(f"a sketch cannot be applied to {type(A).__module__}.{type(A).__qualname__}")


def on_host(A: Array) -> bool:
    """Whether numpy can see the memory of a dense array."""
    library = library_of(A)
    return library == "numpy" or (library == "torch" and A.device.type == "cpu")


def computed_dtype(A: Array) -> str:
    """Name of the dtype that S A is computed in: half precisions in float32, integers in float64.

    Raises
    ------
    TypeError
        For extended precision, 8-bit floats, strings and objects.
    """
    name = str(A.dtype).rpartition(".")[2] if library_of(A) == "torch" else A.dtype.name
    if name.startswith(("int", "uint")):
        return "float64"
    wide = _WIDE.get(name, name)
    if wide not in _COMPUTED:
        raise TypeError(f"a sketch cannot be applied to dtype {name}")
    return wide


def real_dtype(A: Array) -> np.dtype[Any]:
    """Dtype of the real numbers that S A is computed with."""
    return np.dtype(np.float32 if computed_dtype(A) in ("float32", "complex64") else np.float64)


def computed(A: Array) -> Array:
    """`A` in the dtype that S A is computed in; `A` itself when it has it."""
    if library_of(A) == "torch":
        import torch

        return A.detach().to(getattr(torch, computed_dtype(A)))
    return A.astype(np.dtype(computed_dtype(A)), copy=False)


def as_dtype_of(A: Array, result: Array) -> Array:
    """`result` rounded to the dtype of `A`, where that is a floating-point one."""
    if library_of(A) == "torch":
        return result.to(A.dtype) if A.is_floating_point() or A.is_complex() else result
    if A.dtype.kind not in "fc":
        return result
    return result.astype(A.dtype.newbyteorder("="), copy=False)


def beside(A: Array, S: np.ndarray) -> Array:
    """A numpy array in the library and on the device of `A`, complex where torch needs it for a product."""
    library = library_of(A)
    if library == "torch":
        import torch

        S_beside = torch.from_numpy(S).to(A.device)
        return S_beside.to(getattr(torch, computed_dtype(A))) if A.is_complex() else S_beside
    if library == "cupy":
        import cupy  # pyright: ignore[reportMissingImports]

        return cupy.asarray(S)
    return S
