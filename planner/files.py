"""Arrays from files and to files, for the command line.

Read: Matrix Market (``.mtx``, ``.mtx.gz``), ``.npy``, ``.npz`` (plain, or written by `scipy.sparse.save_npz`) and
``.safetensors``; what is sparse stays sparse. Written: ``.npy`` and ``.npz``. One array of a file with several is named
after a colon, ``FILE.npz:A``. Nothing in a file is ever executed: pickled objects are refused.
"""

from __future__ import annotations

import gzip
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..profiles.atomic import replacing
from ..profiles.errors import InvalidProblem
from .operand import check_sparse

SUFFIXES = (".mtx", ".mtx.gz", ".npy", ".npz", ".safetensors")
SMALL_BYTES = 256 * 10**6  # a sparse matrix that is smaller than this when dense is made dense where it has to be
_SEVERAL = (".npz", ".safetensors")
_RHS_ENDINGS = ("_b", "_rhs1")  # the SuiteSparse collection's, the Matrix Market's
_HEADER_LIMIT = 16 * 2**20
_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operands:
    """What was read, and what a person should know of how it was read.

    Attributes
    ----------
    A : (m, n) array or sparse array
    b : (m,) or (m, r) array, or None
    notes : tuple of str
        Choices that were made for the user, one sentence each.
    """

    A: Any
    b: Any
    notes: tuple[str, ...]


def read_operands(matrix: str | Path, rhs: str | Path | None = None) -> Operands:
    """The matrix of a file, sparse where it is, and a right-hand side where one is named or found.

    Without `rhs`, an array ``b``, ``rhs``, ``A_b`` or ``A_rhs1`` beside the matrix ``A`` in the same file is taken,
    else a file ``STEM_b`` or ``STEM_rhs1`` beside ``STEM.mtx``.

    Parameters
    ----------
    matrix, rhs : str or path
        Files, with ``:NAME`` after the ones that hold several arrays.

    Raises
    ------
    InvalidProblem
        One line: the file, what is wrong with it, what to do.
    """
    notes: list[str] = []
    path, name = _split(matrix)
    arrays, name = _read(path, name, prefer=("A",))
    A = arrays[name]
    if len(A.shape) != 2:
        raise InvalidProblem(f"{path}: {name} must be a matrix, found shape {_shape(A)}", argument="FILE")
    if rhs is not None:
        rhs_path, rhs_name = _split(rhs)
        found, rhs_name = _read(rhs_path, rhs_name, prefer=("b", "rhs", *(name + e for e in _RHS_ENDINGS)))
        b = found[rhs_name]
    else:
        b, note = _find_rhs(path, name, arrays)
        notes += [note] if note else []
    if b is not None:
        b = _column(b, rhs or path)
    return Operands(A, b, tuple(notes))


def read_array(file: str | Path) -> Any:
    """The one array of a file, or the one named after a colon; sparse Matrix Market files give a sparse array."""
    path, name = _split(file)
    arrays, name = _read(path, name, prefer=())
    return arrays[name]


def check_output(file: str | Path, kind: str) -> Path:
    """The path, if a solution of `kind` can be written there; asked before anything is computed."""
    path = Path(file).expanduser()
    what = {"low_rank": "a factorization", "eigenpairs": "a set of eigenpairs"}.get(kind, "a solution")
    allowed = (".npz",) if kind in ("low_rank", "eigenpairs") else (".npy", ".npz")
    if path.suffix not in allowed:
        raise InvalidProblem(f"{path}: {what} is written to {' or '.join(allowed)} files", argument="--output")
    if not path.absolute().parent.is_dir():
        raise InvalidProblem(f"{path}: there is no folder {path.absolute().parent}", argument="--output")
    return path


def write_value(path: Path, value: Any) -> None:
    """An array to ``.npy`` or (as ``x``) to ``.npz``; a named tuple to ``.npz``. The file is written whole or not."""
    fields = value._asdict() if hasattr(value, "_asdict") else {"x": value}
    arrays = {key: np.asarray(array) for key, array in fields.items()}
    with _said(path, "cannot be written"), replacing(path) as file:
        if path.suffix == ".npy":
            np.save(file, arrays["x"], allow_pickle=False)
        else:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


# --- which file, which array


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), "")


def _split(file: str | Path) -> tuple[Path, str | None]:
    """``FILE:NAME`` apart; a colon that belongs to the path stays in it."""
    head, colon, name = str(file).rpartition(":")
    if colon and _suffix(Path(head)) in _SEVERAL and not Path(file).exists():
        return Path(head).expanduser(), name
    return Path(file).expanduser(), None


def _read(path: Path, name: str | None, prefer: tuple[str, ...]) -> tuple[Mapping[str, Any], str]:
    """All arrays of a file (read when they are asked for), and the name of the one that is meant."""
    suffix = _suffix(path)
    if not suffix:
        raise InvalidProblem(f"{path}: not a type of file that is read; it must be one of {', '.join(SUFFIXES)}")
    if not path.exists():
        raise InvalidProblem(f"{path}: no such file")
    if not path.is_file():  # a pipe would block, a device never end
        raise InvalidProblem(f"{path}: not a regular file")
    arrays = _READERS[suffix](path)
    names = list(arrays)
    if name is not None:
        if name not in names:
            raise InvalidProblem(f"{path}: holds no array {name!r}; it holds {_list(names)}")
        return arrays, name
    if len(names) == 1:
        return arrays, names[0]
    for name in prefer:
        if name in names:
            return arrays, name
    if not names:
        raise InvalidProblem(f"{path}: holds no array")
    raise InvalidProblem(f"{path}: holds several arrays ({_list(names)}); choose one: {path}:{_one_line(names[0])}")


def _list(names: list[str]) -> str:
    return ", ".join(map(_one_line, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _find_rhs(path: Path, name: str, arrays: Mapping[str, Any]) -> tuple[Any, str]:
    for candidate in ("b", "rhs", *(name + ending for ending in _RHS_ENDINGS)):
        if candidate in arrays and candidate != name:
            return arrays[candidate], f"right-hand side: {candidate}, in the same file"
    stem = path.name[: -len(_suffix(path))]
    for ending in _RHS_ENDINGS:
        for suffix in SUFFIXES:
            beside = path.with_name(stem + ending + suffix)
            if beside.is_file():
                found, key = _read(beside, None, prefer=("b", "rhs"))
                return found[key], f"right-hand side: {beside.name}, beside the matrix"
    return None, ""


def _column(b: Any, file: str | Path) -> np.ndarray:
    """A right-hand side, dense; a vector where the file could only write it as a matrix of one column."""
    if len(b.shape) not in (1, 2):
        raise InvalidProblem(
            f"{file}: a right-hand side must be a vector or a matrix, found shape {_shape(b)}",
            argument="--rhs",
        )
    b = b.toarray() if is_sparse(b) else b
    return b[:, 0] if b.ndim == 2 and b.shape[1] == 1 else b


# --- sparse and dense


def is_sparse(A: Any) -> bool:
    """Whether a matrix that was read is sparse."""
    return hasattr(A, "tocsr")


def _shape(A: Any) -> str:
    return "x".join(map(str, A.shape)) or "() (a scalar)"


def densified(A: Any, file: str | Path, force: bool) -> tuple[np.ndarray, str]:
    """A sparse matrix as a dense array, and a sentence that says so.

    Parameters
    ----------
    file : str or path
        Where it is from.
    force : bool
        Make it dense however large, as long as it fits in main memory.

    Raises
    ------
    InvalidProblem
        If it would be too large.
    """
    import psutil

    needed = math.prod(A.shape) * 8
    which = f"sparse, {_shape(A)} with {A.nnz} nonzeros"
    if needed > SMALL_BYTES and not force:
        raise InvalidProblem(
            f"{file}: {which}, and only dense matrices can be taken here: dense it takes {needed / 1e9:.3g} GB;"
            " --dense makes it dense",
            argument="FILE",
        )
    if needed > psutil.virtual_memory().total:
        raise InvalidProblem(
            f"{file}: {which}; dense it takes {needed / 1e9:.3g} GB, more than this machine's memory",
            argument="FILE",
        )
    return A.toarray(), f"{Path(file).name} is {which}; made dense ({max(0.1, needed / 1e6):.1f} MB)"


# --- one reader per type of file: a mapping of names to arrays


@contextmanager
def _said(path: Path, what: str = "cannot be read") -> Iterator[None]:
    """Whatever a parser raises on a damaged file becomes one line that names the file."""
    try:
        yield
    except InvalidProblem:
        raise
    except OSError as error:
        raise InvalidProblem(f"{path}: {what} ({error.strerror or error})") from error
    except MemoryError as error:
        raise InvalidProblem(f"{path}: {what} (not enough memory)") from error
    except Exception as error:  # tokenize.TokenError, zlib.error, SyntaxError, ...: parsers raise anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidProblem(f"{path}: {what} as {_suffix(path)} ({first})") from error


def _numeric(array: np.ndarray, path: Path, name: str) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        raise InvalidProblem(f"{path}: {name} holds {array.dtype} entries, not numbers")
    return array


def _read_npy(path: Path) -> Mapping[str, Any]:
    with _said(path), path.open("rb") as file:
        return {path.stem: _read_npy_stream(file, path, path.stem)}


def _read_npy_stream(file: Any, path: Path, name: str) -> np.ndarray:
    try:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error):
            raise InvalidProblem(
                f"{path}: {name} holds Python objects, which are not read (they could run code);"
                " save it with a numeric dtype"
            ) from error
        raise
    return _numeric(array, path, name)


class _Lazy(Mapping[str, Any]):
    """Arrays of a file, each read when it is asked for."""

    def __init__(self, names: list[str], read: Any) -> None:
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read_npz(path: Path) -> Mapping[str, Any]:
    with _said(path), zipfile.ZipFile(path) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
    if {"format", "data", "shape"} <= set(names):  # written by scipy.sparse.save_npz
        import scipy.sparse

        with _said(path):
            loaded = scipy.sparse.load_npz(path)
            _numeric(loaded.data, path, path.stem)
            check_sparse(f"{path}: {path.stem}", loaded)  # before anything is made of it
            return {path.stem: scipy.sparse.csr_array(loaded)}

    def read(name: str) -> np.ndarray:
        with _said(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            return _read_npy_stream(file, path, name)

    return _Lazy(names, read)


class _Text:
    """A text file read as bytes, and one more newline. SciPy's reader (1.17) runs past the end of memory where the last
    line has none, and where a NUL cuts a line short."""

    def __init__(self, file: Any) -> None:
        self._file, self._ended = file, False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if b"\0" in data:
            raise ValueError("it holds NUL characters: not text")
        if data and size >= 0:
            return data
        end, self._ended = (b"" if self._ended else b"\n"), True
        return data + end


def _read_mtx(path: Path) -> Mapping[str, Any]:
    import scipy.io
    import scipy.sparse

    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with _said(path), opened(path, "rb") as file:
        rows, columns, entries, _, _, symmetry = scipy.io.mminfo(_Text(file))
        if symmetry != "general" and rows != columns:  # its reader would write beyond the end of the array
            raise ValueError(f"a {symmetry} matrix of {rows}x{columns}")
        if rows == 0 or columns == 0:  # it divides by them
            if entries:
                raise ValueError(f"{entries} entries of a matrix of {rows}x{columns}")
            return {path.name[: -len(_suffix(path))]: np.zeros((rows, columns))}
        file.seek(0)
        A = scipy.io.mmread(_Text(file))
        return {path.name[: -len(_suffix(path))]: scipy.sparse.csr_array(A) if is_sparse(A) else A}


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    """The format is 8 bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, and the raw data."""
    with _said(path), path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_LIMIT):
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("the header is not a JSON object")
        header.pop("__metadata__", None)

    def read(name: str) -> np.ndarray:
        with _said(path), path.open("rb") as file:
            entry = header[name]
            dtype, (begin, end) = entry["dtype"], entry["data_offsets"]
            shape = tuple(int(d) for d in entry["shape"])
            if dtype not in _SAFETENSORS:
                raise ValueError(f"{name} has dtype {dtype}")
            stored = np.dtype(_SAFETENSORS[dtype])
            if min(shape, default=1) < 0 or math.prod(shape) * stored.itemsize != end - begin:
                raise ValueError(f"the shape of {name} does not match its data")
            if not 0 <= begin <= end <= size - 8 - length:
                raise ValueError(f"the data of {name} lies outside the file")
            file.seek(8 + length + begin)
            array = np.frombuffer(file.read(end - begin), dtype=stored).reshape(shape)
        if dtype == "BF16":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array

    return _Lazy(list(header), read)


_READERS = {
    ".mtx": _read_mtx,
    ".mtx.gz": _read_mtx,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
