"""The door: what a user hands in becomes an array the rooms below understand, or a clear refusal.

Only names and attributes are looked at, so that torch, cupy and dask are never imported for the sake of a check.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..profiles.errors import InvalidProblem, UnsupportedDtype

# dtype of the input -> dtype that is computed with (and returned)
WORKING = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float32",
    "bfloat16": "float32",
    "bool": "float64",
    **{f"{sign}int{bits}": "float64" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

_COMMON = {"d": "float64", "f": "float32"}  # dtype.name costs microseconds, dtype.char does not


def library_of(value: Any) -> str | None:
    """ "numpy" | "torch" | "cupy" | "sparse" | "operator" | "dask" for what problems accept, else None."""
    if isinstance(value, np.ndarray):
        return "numpy"
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        return "torch"
    if module == "cupy":
        return "cupy"
    if module == "dask" and hasattr(value, "chunks"):
        return "dask"
    if module in ("scipy", "cupyx") and hasattr(value, "tocsr"):
        return "sparse"
    if hasattr(value, "matvec") and hasattr(value, "shape"):
        return "operator"
    return None


def dtype_name(value: Any) -> str:
    """ "float64", "bfloat16", ... of an array of any library."""
    dtype = getattr(value, "dtype", None)
    if isinstance(value, np.ndarray):
        return _COMMON.get(value.dtype.char) or value.dtype.name
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def device_of(value: Any) -> str:
    """ "cpu" or the name of the device that holds a tensor."""
    device = getattr(value, "device", None)
    if device is None or isinstance(value, np.ndarray):
        return "cpu" if library_of(value) != "cupy" else f"cuda:{getattr(device, 'id', 0)}"
    return str(device)


def dense_or_linear(argument: str, value: Any, ndims: tuple[int, ...]) -> Any:
    """`value` checked: an accepted type, a real dtype that can be computed with, and a number of dimensions.

    Returns
    -------
    array, sparse array or operator
        `value` itself, or a numpy array made of it (lists, np.matrix).

    Raises
    ------
    InvalidProblem, UnsupportedDtype
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidProblem(
            f"{argument} is a masked array and its mask would be ignored; fill it or drop the masked rows first",
            argument=argument,
            found="masked array",
        )
    library = library_of(value)
    if library is None:
        value = _from_sequence(argument, value)
        library = "numpy"
    if library == "numpy" and type(value) is not np.ndarray:
        value = np.asarray(value)  # np.matrix, memmap and other subclasses, without a copy
    name = dtype_name(value)
    if name not in WORKING:
        hint = {
            "complex64": "complex problems are not supported yet; solve for real and imaginary parts",
            "complex128": "complex problems are not supported yet; solve for real and imaginary parts",
            "longdouble": "convert it to float64", "float128": "convert it to float64",
            "object": "convert it to a numeric dtype",
        }.get(name, "convert it to float64 or float32")  # fmt: skip
        raise UnsupportedDtype(
            f"{argument} has dtype {name or type(value).__name__}: {hint}", argument=argument, found=name
        )
    if len(value.shape) not in ndims:
        wanted = " or ".join(f"{d}-dimensional" for d in ndims)
        raise InvalidProblem(
            f"{argument} must be {wanted}, got shape {tuple(value.shape)}",
            argument=argument,
            found=str(value.shape),
        )
    return value


def _from_sequence(argument: str, value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple, int, float)):
        try:
            return np.asarray(value)
        except ValueError as error:
            raise InvalidProblem(
                f"{argument} is a nested sequence that does not form an array: {error}", argument=argument
            ) from error
    raise InvalidProblem(
        f"{argument} must be an array (numpy, torch, cupy), a scipy.sparse array, a LinearOperator or a dask array;"
        f" got {type(value).__name__}",
        argument=argument,
        found=type(value).__name__,
    )


def same_home(A: Any, b: Any) -> None:
    """Raise InvalidProblem unless A and b are of one library and on one device."""
    library_A, library_b = library_of(A), library_of(b)
    if library_A in ("sparse", "operator", "dask"):
        library_A = "numpy" if library_b != "cupy" else "cupy"
    if library_A != library_b:
        raise InvalidProblem(
            f"b is a {library_b} array and A a {library_A} array; convert one so that both are of one library",
            argument="b",
            found=str(library_b),
        )
    if device_of(A) != device_of(b):
        raise InvalidProblem(
            f"A is on device {device_of(A)} and b on {device_of(b)}; move one of them (nothing is copied implicitly)",
            argument="b",
            found=device_of(b),
        )


def working_dtype(*arrays: Any) -> str:
    """The dtype that is computed with: float32 only if nothing wider is among the operands."""
    names = [WORKING[dtype_name(a)] for a in arrays]
    return "float64" if "float64" in names else "float32"


def as_working(value: Any, dtype: str) -> Any:
    """`value` as a native-endian array of `dtype` in its own library; itself where it is one already."""
    if isinstance(value, np.ndarray):
        same = dtype_name(value) == dtype and value.dtype.isnative
        return value if same else value.astype(dtype, order="K")
    if library_of(value) == "torch":
        if value.requires_grad:
            raise InvalidProblem(
                "a tensor with requires_grad=True would lose its gradient; pass tensor.detach()", argument="A"
            )
        torch = sys.modules["torch"]
        return value.to(getattr(torch, dtype))
    return value.astype(dtype, copy=False)


def memory_order(A: Any) -> str:
    """ "C" if rows of A are contiguous, "F" if columns are, "C" (after a copy) for anything else."""
    if isinstance(A, np.ndarray) or library_of(A) == "cupy":
        return "F" if A.flags.f_contiguous and not A.flags.c_contiguous else "C"
    return "F" if A.stride(0) == 1 and A.stride(1) >= A.shape[0] > 1 else "C"


def contiguous(A: Any) -> Any:
    """A itself if its rows or its columns are contiguous, else a C-ordered copy."""
    if isinstance(A, np.ndarray) or library_of(A) == "cupy":
        return A if A.flags.c_contiguous or A.flags.f_contiguous else A.copy(order="C")
    return A if A.is_contiguous() or (A.dim() == 2 and A.T.is_contiguous()) else A.contiguous()
