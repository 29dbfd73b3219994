"""Structure of a square matrix, its Frobenius norm and finiteness: free and one-pass probes (stages 0 and 1).

A few sampled entries rule out, in microseconds, each structure that a general matrix does not have; only a matrix
that passes the sample is read in full, and then what is reported is exact: every entry outside the band is zero, or
||A - A'||_F is rounding. Where an error would come out later anyway, `sampled` symmetry will do: then a thousand
pairs of entries speak for a dense matrix. Symmetry up to rounding counts, because a matrix computed as Q D Q' or X'X
seldom has equal bits on both sides, and replacing one triangle by the other then changes A by less than a
factorization does.

Whether a symmetric matrix is positive definite is settled by Cholesky alone. That it is not, a diagonal entry that is
not positive settles, or a principal submatrix whose Cholesky factorization fails (its eigenvalues interlace those of A:
Horn and Johnson, Matrix Analysis (2013), theorem 4.3.17): a few random rows and columns of an indefinite matrix are
most often indefinite too, unless its diagonal dominates.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import array_api_compat
import numpy as np

from ..primitives.evidence import Evidence, Finding
from ..primitives.linear_system import SYMMETRIC
from ..primitives.norms import is_finite, norm
from ..primitives.task import Task
from ..primitives.work import Calls, Work

Array = Any

_SAMPLES = 256
_PAIRS = 1024  # if they agree, fewer than 0.7 % of all pairs differ, with a confidence of 99.9 %
_BEYOND_DOUBT = 100.0  # an asymmetry that a sample puts this far above the limit is not looked at more closely
_GLANCE = 12
_ROWS = 32
_MINOR = 48  # order of the principal submatrix that is factored; LAPACK wakes no threads for one so small
_FARTHER = 1.3  # how much farther than some sampled rows the others may reach
_TILE = 128  # two float64 tiles and their difference stay in the second-level cache
_ASYMMETRY = 6.0  # ||A - A'||_F up to this many u ||A||_F is rounding: products Q D Q' and inverses have 1 to 3


def work(task: Task) -> Work:
    """One pass for the norm; the symmetry pass only where the matrix is declared symmetric (else sampling ends it)."""
    k = Calls("numpy" if task.device == "cpu" else task.library, task.dtype)
    calls = (k("stream", task.m, task.n),)
    if task.m == task.n and task.structure in SYMMETRIC:
        calls += (k("symmetry", task.n),)
    return Work(calls, 4.0 * _TILE**2 * task.itemsize + 64.0 * 1024)


def run(A: Array, task: Task, evidence: Evidence, *, sampled: bool = False) -> tuple[Evidence, Task, dict[str, Any]]:
    """Find the structure of A, or check the one that `task.structure` declares.

    Parameters
    ----------
    A : (m, n) array
        numpy, torch or cupy, any strides. Only square matrices have structure looked for.
    task : Task
        `structure` "general" means that nothing was declared; "triangular" is accepted for "upper" or "lower".
    evidence : Evidence
    sampled : bool
        Whether a sample decides that a dense matrix is symmetric, unless it was declared to be, and its norm, where it
        is not known yet, is of no interest; else all of it is read.

    Returns
    -------
    evidence : Evidence
        With `norm_fro` unless `sampled` and a sentence on what was found.
    task : Task
        With `structure` ("indefinite" is symmetric and not positive definite) and `bandwidth`.
    by_products : dict
        "mismatch": why A is not what was declared, when it is not; "not_finite": where entries are not finite.
    """
    start = time.perf_counter()
    by_products: dict[str, Any] = {}
    norm_fro = evidence.norm_fro
    if norm_fro is None and not sampled:
        norm_fro = norm(A)
        if not math.isfinite(norm_fro) and not is_finite(A):
            by_products["not_finite"] = _where_not_finite(A)
    declared = task.structure
    if not by_products and task.m == task.n and task.n > 0:
        with np.errstate(all="ignore"):  # A may hold anything
            structure, bandwidth, sentence, mismatch = _structure(_host(A), task, norm_fro, declared, sampled)
        task = replace(task, structure=structure, bandwidth=bandwidth)
        if mismatch and not is_finite(A):  # NaN is neither zero nor equal to itself: that contradicts any declaration
            by_products["not_finite"] = sentence = _where_not_finite(A)
        elif mismatch:
            by_products["mismatch"] = sentence
    elif by_products:
        sentence = by_products["not_finite"]
    else:
        sentence = "A is not square" if norm_fro is None else f"Frobenius norm {norm_fro:.3g}"
    finding = Finding("structure", sentence, time.perf_counter() - start)
    return replace(evidence, norm_fro=norm_fro, findings=(*evidence.findings, finding)), task, by_products


def may_be_spd(A: Array) -> bool:
    """Whether a few entries look symmetric, the diagonal is positive and so is a principal submatrix: in microseconds.

    It proves nothing.
    """
    A = _host(A)
    if not isinstance(A, np.ndarray) or A.shape[0] == 0:
        return False
    row, column = A[0, 1:_GLANCE], A[1:_GLANCE, 0]
    with np.errstate(all="ignore"):  # infinities
        equal = np.abs(row - column) <= _ASYMMETRY * 2.0**-20 * np.abs(row)  # loose: rounding of float32
    return bool(equal.all() and (A.diagonal() > 0).all()) and not _indefinite_minor(A)


def _indefinite_minor(A: Array, rng: np.random.Generator | None = None) -> bool:
    """Whether the Cholesky factorization of a random principal submatrix fails; False where that of A costs as much."""
    n = A.shape[0]
    if n < 8 * _MINOR:
        return False
    i = (rng or np.random.default_rng(0)).choice(n, _MINOR, replace=False)
    minor = _entries(A, i[:, None], i[None, :]).astype(np.float64)
    try:
        np.linalg.cholesky(minor)
    except np.linalg.LinAlgError:
        return True
    return False


def guess(A: Array, task: Task) -> Task:
    """The task with the structure that a few whole rows have: in microseconds, and it proves nothing.

    Diagonal and triangular matrices, and those with a narrow band; A in host memory.
    """
    A, n = _host(A), task.n
    if not isinstance(A, np.ndarray) or task.structure != "general" or n < 2 or (A[n - 1, 0] != 0 and A[0, n - 1] != 0):
        return task
    i = np.random.Generator(np.random.Philox(key=task.seed)).integers(0, n, _ROWS)
    i[0], i[1] = 0, n - 1
    by_rows = _row_ordered(A)
    left, right = _reaches(A if by_rows else A.T, i)
    if not by_rows:
        left, right = right, left
    lower, upper = int(left.max()), int(right.max())
    if lower == 0 or upper == 0:
        name = "diagonal" if lower == upper else "upper" if lower == 0 else "lower"
        return replace(task, structure=name)
    inside = (i >= lower + upper) & (i < n - lower - upper)  # rows that hold the whole band, in either order of memory
    full = np.count_nonzero(left[inside] == lower), np.count_nonzero(right[inside] == upper)
    if min(full) <= _ROWS // 2:  # where only a few rows reach that far, others may reach farther
        lower, upper = math.ceil(_FARTHER * lower), math.ceil(_FARTHER * upper)
    return replace(task, structure="banded", bandwidth=(lower, upper)) if _narrow(lower, upper, n) else task


def _reaches(A: Array, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far to the left and to the right of the diagonal the nonzeros of rows i reach."""
    nonzero = _to_numpy(A[i]) != 0
    first, last = nonzero.argmax(axis=1), A.shape[1] - 1 - nonzero[:, ::-1].argmax(axis=1)
    empty = ~nonzero.any(axis=1)
    return np.where(empty, 0, np.maximum(i - first, 0)), np.where(empty, 0, np.maximum(last - i, 0))


def _narrow(lower: int, upper: int, n: int) -> bool:
    """Whether band storage, with room for fill, is far smaller than A."""
    return 2 * lower + upper + 1 <= n // 8


def _structure(
    A: Array, task: Task, norm_fro: float | None, declared: str, sampled: bool
) -> tuple[str, tuple[int, int] | None, str, bool]:
    """(structure, bandwidth, sentence, mismatch)."""
    n = task.n
    rng = np.random.Generator(np.random.Philox(key=task.seed))
    lower, upper = _bandwidth(A, rng, declared == "banded")
    if lower == upper == 0:
        if declared == "spd" and not bool((A.diagonal() > 0).all()):
            return declared, None, "A was declared positive definite, but a diagonal entry is not positive", True
        return "diagonal", None, "A is diagonal", False
    if declared in ("upper", "lower", "triangular", "diagonal"):
        fits = {"upper": lower == 0, "lower": upper == 0, "diagonal": False}.get(declared, 0 in (lower, upper))
        if not fits:
            sides = [side for side, width in (("below", lower), ("above", upper)) if width]
            return declared, None, f"A is not {declared}: it has nonzeros {' and '.join(sides)} the diagonal", True
    if lower == 0 or upper == 0:
        name = "upper" if lower == 0 else "lower"
        if declared in SYMMETRIC:
            return declared, None, f"A was declared {declared}, but it is {name} triangular", True
        return name, None, f"A is {name} triangular", False
    if declared == "banded" and task.bandwidth is not None:
        if lower > task.bandwidth[0] or upper > task.bandwidth[1]:
            sentence = f"A has {lower} diagonals below and {upper} above, more than the {task.bandwidth} declared"
            return declared, task.bandwidth, sentence, True
        return "banded", (lower, upper), f"A is banded: {lower} diagonals below, {upper} above", False
    narrow = _narrow(lower, upper, n)
    if declared in SYMMETRIC or not (declared == "banded" or narrow):
        few = sampled and declared not in SYMMETRIC and not narrow
        how = _symmetry(A, norm_fro, task.unit_roundoff, rng, few)
        if how:
            return _symmetric(A, how, declared, narrow, (lower, upper), rng)
        if declared in SYMMETRIC:
            sentence = f"A was declared {declared}, but A and A' differ by more than rounding"
            return declared, None, sentence, True
    if declared == "banded" or narrow:
        return "banded", (lower, upper), f"A is banded: {lower} diagonals below, {upper} above", False
    return "general", None, "A is neither symmetric, triangular nor banded", False


def _symmetric(
    A: Array, how: str, declared: str, narrow: bool, bandwidth: tuple[int, int], rng: np.random.Generator
) -> tuple[str, tuple[int, int] | None, str, bool]:
    diagonal = _to_numpy(A.diagonal())
    bad = np.flatnonzero(~(diagonal > 0.0))
    if bad.size:
        i = int(bad[0])
        why = f"diagonal entry {i} is {float(diagonal[i]):.3g}, so it is not positive definite"
        if declared == "spd":
            return declared, None, f"A was declared positive definite, but {why}", True
        if not narrow:
            return "indefinite", None, f"A is symmetric {how}; {why}", False
    if narrow:
        return "banded", bandwidth, f"A is symmetric {how} and banded: {bandwidth[0]} diagonals on either side", False
    if declared != "spd" and _indefinite_minor(A, rng):
        why = f"a principal submatrix of order {_MINOR} is not positive definite, and so neither is A"
        return "indefinite", None, f"A is symmetric {how} with a positive diagonal, but {why}", False
    name = "spd" if declared == "spd" else "symmetric"
    return name, None, f"A is symmetric {how} with a positive diagonal", False


def _bandwidth(A: Array, rng: np.random.Generator, exact: bool) -> tuple[int, int]:
    """Lower and upper bandwidth, exact where A is triangular or narrow; else, unless `exact`, lower bounds of them."""
    n = A.shape[0]
    wide = n if exact else n // 8  # beyond this a side only matters for being nonzero
    most = 4 * n if exact else n // 8
    i = np.concatenate([[n - 1], rng.integers(0, n, _SAMPLES)])
    j = np.concatenate([[0], rng.integers(0, n, _SAMPLES)])
    high, low = np.maximum(i, j), np.minimum(i, j)
    lower = int(np.max((high - low)[_entries(A, high, low) != 0], initial=0))
    upper = int(np.max((high - low)[_entries(A, low, high) != 0], initial=0))
    if _row_ordered(A):
        return _read_bandwidth(A, lower, upper, wide, most, rng)
    upper, lower = _read_bandwidth(A.T, upper, lower, wide, most, rng)
    return lower, upper


def _read_bandwidth(
    A: Array, lower: int, upper: int, wide: int, most: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Bandwidths by reading the rows of A, from lower bounds of them; stops when neither triangular nor narrow."""
    n = A.shape[0]
    if not (lower and upper):  # a few whole rows say more of a sparse matrix than as many entries
        left, right = _reaches(A, rng.integers(0, n, _ROWS))
        lower, upper = max(lower, int(left.max())), max(upper, int(right.max()))
    rows = max(1, (1 << 18) // n)
    for r in range(0, n, rows):
        # whichever of the two is the lower one: A may be the transpose
        if lower and upper and (max(lower, upper) > wide or lower + upper + min(lower, upper) + 1 > most):
            break
        stop = min(n, r + rows)
        if lower <= wide:
            near = max(0, r - lower)  # most often nothing is beyond what was seen: `any` is the fastest way to know
            near = near if near == 0 or not bool(A[r:stop, :near].any()) else 0
            lower = max(lower, _reach(A[r:stop, near:stop], r - near))
        if upper <= wide:  # the same, on the block turned by 180 degrees
            near = min(n, stop + upper)
            near = near if near == n or not bool(A[r:stop, near:].any()) else n
            upper = max(upper, _reach(_turned(A[r:stop, r:near]), near - stop))
    return lower, upper


def _reach(block: Array, first_row: int) -> int:
    """Largest i - j of a nonzero, for rows first_row, first_row + 1, ... of a matrix; 0 if none is positive."""
    nonzero = _to_numpy(block != 0)
    rows = np.flatnonzero(nonzero.any(axis=1))
    if rows.size == 0:
        return 0
    first = nonzero[rows].argmax(axis=1)
    return max(0, int(np.max(rows + first_row - first)))


def _turned(block: Array) -> Array:
    return block[::-1, ::-1] if isinstance(block, np.ndarray) else _to_numpy(block)[::-1, ::-1]


def _symmetry(A: Array, norm_fro: float | None, unit_roundoff: float, rng: np.random.Generator, few: bool) -> str:
    """How A is symmetric, in words; empty where it is not, which a few entries tell of most matrices.

    `few`: a sample of pairs is enough, where most of them are not zero.
    """
    n = A.shape[0]
    limit = _ASYMMETRY * unit_roundoff
    i, j = rng.integers(0, n, _PAIRS), rng.integers(0, n, _PAIRS)
    above, below = _entries(A, i, j).astype(np.float64), _entries(A, j, i).astype(np.float64)
    size = norm_fro or n * norm(above) / math.sqrt(_PAIRS)
    if size > 0.0:
        asymmetry = n * norm((above - below) / size) / math.sqrt(_PAIRS)
        if not asymmetry <= _BEYOND_DOUBT * limit:
            return ""
        if few and asymmetry <= limit and np.count_nonzero(above) > _PAIRS // 2:
            return f"in {_PAIRS} pairs of entries"
    if few:
        pairs, different = _compared_rows(A, rng)
        if different > _BEYOND_DOUBT * limit:
            return ""
        if pairs:
            return f"in {pairs} pairs of entries that are not zero"
    if norm_fro is None:
        norm_fro = norm(A)
    if norm_fro == 0.0:
        return "exactly"
    if not math.isfinite(norm_fro):
        return ""
    most = limit * norm_fro
    total, most = 0.0, most * most / 2  # each pair of tiles is visited once; ** raises where this overflows
    scale = 1.0
    if not (0.0 < most < math.inf):  # squares leave the range: scale by a power of two, which is exact
        scale = 2.0 ** -min(1022, max(-1022, math.frexp(norm_fro)[1]))
        most = (limit * (norm_fro * scale)) ** 2 / 2
    equal = True
    for r in range(0, n, _TILE):
        for c in range(r, n, _TILE):
            above, below = A[r : r + _TILE, c : c + _TILE], A[c : c + _TILE, r : r + _TILE].T
            equal = equal and bool((above == below).all())  # cheaper than the difference, and usually enough
            if equal:
                continue
            d = above - below
            if scale != 1.0:
                d = d * scale
            part = float(np.einsum("ij,ij->", d, d)) if isinstance(d, np.ndarray) else float((d * d).sum())
            total += part / 2 if r == c else part
            if not total <= most:
                return ""
    asymmetry = math.sqrt(2 * total) / (norm_fro * scale)
    return "exactly" if asymmetry == 0.0 else f"to rounding (A - A' is {asymmetry:.1g} of A)"


def _compared_rows(A: Array, rng: np.random.Generator) -> tuple[int, float]:
    """How many nonzeros a few rows have, where their columns equal them and that is enough to tell, else 0; and the
    size of the difference to that of the rows."""
    i = rng.integers(0, A.shape[0], _ROWS)
    rows, columns = _to_numpy(A[i]), _to_numpy(A[:, i]).T
    if not np.array_equal(rows, columns):
        size = norm(rows)
        return 0, norm((rows - columns) / size) if 0.0 < size < math.inf else 0.0
    pairs = int(np.count_nonzero(rows))
    return pairs if pairs >= 2 * _ROWS else 0, 0.0


def _where_not_finite(A: Array) -> str:
    """How many entries are not finite, and the first."""
    count, first = 0, None
    A = _host(A)
    rows = max(1, (1 << 20) // max(1, A.shape[1]))
    for r in range(0, A.shape[0], rows):
        bad = np.argwhere(~np.isfinite(_to_numpy(A[r : r + rows])))
        count += len(bad)
        if first is None and len(bad):
            first = (int(bad[0, 0]) + r, int(bad[0, 1]))
    return f"A has {count} entries that are not finite, the first at {first}"


def _entries(A: Array, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    if isinstance(A, np.ndarray):
        return A[i, j]
    xp, device = array_api_compat.array_namespace(A), array_api_compat.device(A)
    return _to_numpy(A[xp.asarray(i, device=device), xp.asarray(j, device=device)])


def _row_ordered(A: Array) -> bool:
    if isinstance(A, np.ndarray):
        return abs(A.strides[0]) >= abs(A.strides[1])
    return True


def _host(A: Array) -> Array:
    """A CPU tensor as numpy on the same memory; an array of another device as it is."""
    if hasattr(A, "detach") and A.device.type == "cpu":
        return A.detach().numpy()
    return A


def _to_numpy(a: Array) -> np.ndarray:
    if isinstance(a, np.ndarray):
        return a
    return a.detach().cpu().numpy() if hasattr(a, "detach") else a.get()
