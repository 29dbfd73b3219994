"""The door: what a user hands in becomes an array the rooms below understand, or a clear refusal.

Only names and attributes are looked at, so that torch, cupy and dask are never imported for the sake of a check.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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

# dtype.name costs microseconds, dtype.char does not; and where long double is no longer than double, it says float64
_BY_CHAR = {"d": "float64", "f": "float32", "g": "longdouble", "G": "clongdouble"}
_DEVICES = ("cpu", "cuda")  # of torch tensors


def library_of(value: Any) -> str | None:
    """ "numpy" | "torch" | "cupy" | "sparse" | "operator" | "dask" for what problems accept, else None."""
    if isinstance(value, np.ndarray):
        return "numpy"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return "torch"
    module = _module(value)
    if module == "cupy":
        return "cupy"
    if module == "dask" and hasattr(value, "chunks"):
        return "dask"
    if module in ("scipy", "cupyx") and hasattr(value, "tocsr"):
        return "sparse"
    if callable(getattr(value, "matvec", None)) and isinstance(getattr(value, "shape", None), tuple):
        return "operator"
    return None


def _module(value: Any) -> str:
    """The package that defines the type of a value."""
    return type(value).__module__.partition(".")[0]


def dtype_name(value: Any) -> str:
    """ "float64", "bfloat16", ... of an array of any library."""
    dtype = getattr(value, "dtype", None)
    if isinstance(value, np.ndarray):
        return _BY_CHAR.get(value.dtype.char) or value.dtype.name
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def device_of(value: Any) -> str:
    """ "cpu" or the name of the device that holds a tensor."""
    device = getattr(value, "device", None)
    if device is None or isinstance(value, np.ndarray):
        return "cpu"
    if _module(value) in ("cupy", "cupyx"):
        return f"cuda:{getattr(device, 'id', 0)}"
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
    if library == "torch":
        _check_tensor(argument, value)
    name = dtype_name(value)
    if name not in WORKING:
        raise UnsupportedDtype(f"{argument} has dtype {name}: {_advice(name)}", argument=argument, found=name)
    shape = tuple(value.shape)
    if len(shape) not in ndims:
        wanted = " or ".join(f"{d}-dimensional" for d in ndims)
        raise InvalidProblem(f"{argument} must be {wanted}, got shape {shape}", argument=argument, found=str(shape))
    if library in ("operator", "dask") and not all(hasattr(size, "__index__") and size >= 0 for size in shape):
        raise InvalidProblem(
            f"{argument} has shape {shape}, which is not known or not one of a matrix", argument=argument
        )
    if library == "sparse" and len(shape) == 2:
        check_sparse(argument, value)
    return value


def _advice(name: str) -> str:
    """What to do with a dtype that nothing computes with."""
    if name.startswith(("complex", "clongdouble")):
        return "complex problems are not supported yet; solve for real and imaginary parts"
    if name.startswith(("qint", "quint")):
        return "call .dequantize() on it"
    if name in ("longdouble", "object"):
        return f"convert it to {'float64' if name == 'longdouble' else 'a numeric dtype'}"
    if name == "None":
        return "an operator must say what it computes in; set its dtype to float64 or float32"
    return f"convert it to {'float64 or float32' if 'float' in name or 'int' in name else 'a numeric dtype'}"


def _check_tensor(argument: str, value: Any) -> None:
    """Raise InvalidProblem unless a tensor holds numbers in memory, by strides, and no gradient would be lost."""
    torch = sys.modules["torch"]
    why = ""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        why = f"of the class {type(value).__name__}, which may not compute as tensors do; pass a plain torch.Tensor"
    elif value.is_nested:
        why = "a nested tensor; pass one of a single shape"
    elif value.layout != torch.strided:
        why = f"a tensor of layout {value.layout}, which is not solved yet; call .to_dense() on it"
    elif value.device.type not in _DEVICES:
        why = f"on device {value.device}; only tensors on {' and '.join(_DEVICES)} are supported"
    elif value.requires_grad and torch.is_grad_enabled():
        why = (
            "a tensor with requires_grad=True and would lose its gradient; pass tensor.detach(), or use torch.no_grad()"
        )
    if why:
        raise InvalidProblem(f"{argument} is {why}", argument=argument, found=type(value).__name__)


def _from_sequence(argument: str, value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple, int, float)):
        if _holds_masked(value):
            raise InvalidProblem(f"{argument} holds masked arrays, and their mask would be ignored", argument=argument)
        try:
            return np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:
            first = str(error).partition("\n")[0]
            raise InvalidProblem(
                f"{argument} is a nested sequence that does not form an array: {first}", argument=argument
            ) from error
    hint = next((f"; {how}" for attribute, how in _CONVERSIONS.items() if hasattr(value, attribute)), "")
    raise InvalidProblem(
        f"{argument} must be an array (numpy, torch, cupy), a scipy.sparse array, a LinearOperator or a dask array;"
        f" got {type(value).__name__}{hint}",
        argument=argument,
        found=type(value).__name__,
    )


# What a value offers, and what makes an array of it: whether that copies, and what it costs, is for its owner to say.
_CONVERSIONS = {
    "to_numpy": "pass its .to_numpy()",
    "__array__": "pass numpy.asarray of it",
    "__array_interface__": "pass numpy.asarray of it",
    "__dlpack__": "pass numpy.from_dlpack of it",
    "__next__": "pass a list of what it yields",
}


def _holds_masked(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_masked, value))
    return isinstance(value, np.ma.MaskedArray)


# --- sparse matrices: compiled code follows their indices wherever they point


def check_sparse(argument: str, A: Any) -> None:
    """Raise InvalidProblem unless every index of a sparse matrix, of scipy or cupyx, lies inside it.

    O(nnz). A is only read: scipy's own `check_format` shortens the arrays of what it checks. Duplicates, unsorted
    indices and explicit zeros are in order.
    """
    check = _FORMATS.get(getattr(A, "format", ""))
    why = check(A) if check is not None else ""
    if why:
        raise InvalidProblem(f"{argument} is a broken {A.format} matrix: {why}", argument=argument, found=A.format)


def _indices(name: str, values: Any, count: int | None, size: int) -> str:
    """What is wrong with a vector of `count` indices (None: any number) from 0 to size - 1; empty if nothing."""
    if getattr(values, "ndim", None) != 1 or values.dtype.kind not in "iu":
        return f"{name} is not a vector of integers"
    if count is not None and values.shape[0] != count:
        return f"{name} has {values.shape[0]} entries, not {count}"
    if values.shape[0] and not (int(values.min()) >= 0 and int(values.max()) < size):
        return f"{name} holds {int(values.min())} to {int(values.max())}, which are not all within 0 to {size - 1}"
    return ""


def _compressed(A: Any) -> str:
    """csr, csc and bsr."""
    blocked = A.format == "bsr"
    if getattr(A.data, "ndim", None) != (3 if blocked else 1):
        return "data has another number of dimensions"
    rows, columns = A.data.shape[1:] if blocked else (1, 1)
    m, n = A.shape
    if min(rows, columns) < 1 or m % rows or n % columns:
        return f"blocks of {rows} x {columns} do not fill it"
    major, minor = (n, m) if A.format == "csc" else (m // rows, n // columns)
    stored = A.data.shape[0]
    why = _indices("indptr", A.indptr, major + 1, stored + 1)
    if why:
        return why
    if int(A.indptr[0]) != 0 or bool((A.indptr[1:] < A.indptr[:-1]).any()):
        return "indptr does not rise from 0"
    used = int(A.indptr[-1])
    why = _indices("indices", A.indices[:used], None, minor)
    return why or (f"indptr speaks of {used} indices" if A.indices.shape[0] < used else "")


def _coordinates(A: Any) -> str:
    if getattr(A.data, "ndim", None) != 1:
        return "data is not a vector"
    stored = A.data.shape[0]
    return _indices("row", A.row, stored, A.shape[0]) or _indices("col", A.col, stored, A.shape[1])


def _diagonals(A: Any) -> str:
    offsets = A.offsets
    if getattr(A.data, "ndim", None) != 2:
        return "data is not a matrix"
    if getattr(offsets, "ndim", None) != 1 or offsets.dtype.kind not in "iu" or offsets.shape[0] != A.data.shape[0]:
        return "offsets do not name the rows of data"
    return "" if len(set(offsets.tolist())) == offsets.shape[0] else "offsets repeat"


def _lists(A: Any) -> str:
    m, n = A.shape
    if A.rows.shape != (m,) or A.data.shape != (m,):
        return "rows and data do not have a list for each row"
    for i, (row, values) in enumerate(zip(A.rows, A.data, strict=True)):
        if len(row) != len(values):
            return f"row {i} has {len(row)} indices and {len(values)} values"
        if row and not (min(row) >= 0 and max(row) < n):
            return f"row {i} holds {min(row)} to {max(row)}, which are not all within 0 to {n - 1}"
    return ""


def _keys(A: Any) -> str:
    m, n = A.shape
    outside = next((key for key in A.keys() if not (0 <= key[0] < m and 0 <= key[1] < n)), None)  # noqa: SIM118
    return "" if outside is None else f"the index {outside} lies outside its shape"


_FORMATS: dict[str, Callable[[Any], str]] = {
    "csr": _compressed, "csc": _compressed, "bsr": _compressed, "coo": _coordinates, "dia": _diagonals,
    "lil": _lists, "dok": _keys,
}  # fmt: skip


# --- several operands


def same_home(A: Any, b: Any, argument: str = "b") -> None:
    """Raise InvalidProblem unless A and b, called `argument`, are of one library and on one device."""
    library_A, library_b = library_of(A), library_of(b)
    home = library_A
    if library_A in ("operator", "dask"):
        home = "cupy" if library_b == "cupy" else "numpy"
    elif library_A == "sparse":
        home = "cupy" if _module(A) == "cupyx" else "numpy"
    if home != library_b:
        raise InvalidProblem(
            f"{argument} is a {library_b} array and A a {library_A} array; convert one so that both are of one library",
            argument=argument,
            found=str(library_b),
        )
    if device_of(A) != device_of(b):
        raise InvalidProblem(
            f"A is on device {device_of(A)} and {argument} on {device_of(b)}; move one of them (nothing is copied"
            " implicitly)",
            argument=argument,
            found=device_of(b),
        )


def working_dtype(*arrays: Any) -> str:
    """The dtype that is computed with: float32 only if nothing wider is among the operands."""
    names = [WORKING[dtype_name(a)] for a in arrays]
    return "float64" if "float64" in names else "float32"


def without_gradient(value: Any) -> Any:
    """A tensor on the same memory that no graph is recorded of; anything else as it is."""
    return value.detach() if getattr(value, "requires_grad", False) else value


def as_working(value: Any, dtype: str) -> Any:
    """`value` as a native-endian array of `dtype` in its own library; itself where it is one already.

    Sparse matrices of SciPy in compressed rows, without duplicates and sorted; operators as those of SciPy, whose dtype
    stays what it is.
    """
    if isinstance(value, np.ndarray):
        same = dtype_name(value) == dtype and value.dtype.isnative
        return value if same else value.astype(dtype, order="K")
    library = library_of(value)
    if library == "sparse":
        return _compressed_rows(value, dtype)
    if library == "operator":
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(value)
    if library == "torch":
        # a negative bit: its memory does not hold the numbers that it stands for
        return value.resolve_neg().to(getattr(sys.modules["torch"], dtype))
    return value.astype(dtype, copy=False)


def _compressed_rows(A: Any, dtype: str) -> Any:
    """A csr_array of `dtype`, on the same memory where A is one that is tidy."""
    import scipy.sparse as sp

    rows: Any = sp.csr_array(A)
    if rows.dtype != dtype or not rows.dtype.isnative:
        rows = rows.astype(dtype)
    if not rows.has_canonical_format:
        rows = rows.copy() if np.shares_memory(rows.indices, getattr(A, "indices", rows.indices[:0])) else rows
        rows.sum_duplicates()
    return rows


def sparse_bytes(A: Any) -> int:
    """Memory of a matrix in compressed rows or columns [B]."""
    return int(A.data.nbytes + A.indices.nbytes + A.indptr.nbytes)


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
