"""From a problem to operands that every algorithm can take: finite, and scaled so that squares are safe.

Scaling is by powers of two, which is exact, and only where the norm is far from one; the value is scaled back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

from ..cost_models.price import ASLEEP, Pool
from ..primitives import norms
from ..primitives.evidence import Evidence
from ..primitives.kernels._library import Library
from ..primitives.task import Task
from ..profiles.errors import InvalidProblem, NonFiniteInput
from .operand import sparse_bytes
from .problems import Problem

_LARGEST = 1024  # every float64 is below two to the power of this
# Columns of b smaller than the largest by more than this would leave the range of squares: zero to a certificate.
_COLUMN_RATIO = {"float64": 1e-80, "float32": 1e-20}
_LARGE = 1 << 19  # entries from which more than one thread reads A faster


@dataclass(slots=True)
class Prepared:
    """Operands ready to run, what probes left behind, and the exponents that scale the value back.

    `copied_bytes` is the memory of copies of the operands, in another dtype or layout or scaled; `probe_bytes` the peak
    that probing added; `pool` says whose threads the probes left awake. `checked` says whether A has been looked at:
    before, it may be of any size and not finite.
    """

    A: Any
    b: Any
    task: Task
    evidence: Evidence
    exponent_A: int = 0
    exponent_b: int = 0
    by_products: dict[str, Any] = field(default_factory=dict)
    copied_bytes: float = 0.0
    probe_bytes: float = 0.0
    pool: Pool = ASLEEP
    checked: bool = True

    @property
    def held_bytes(self) -> float:
        """Memory held beyond the operands while a candidate runs: copies of them and by-products of probes [B]."""
        return self.copied_bytes + sum(map(nbytes, self.by_products.values()))


def checked_norm(argument: str, x: Any) -> float:
    """Frobenius norm, infinite where only the norm is beyond float64; raises NonFiniteInput where an entry is.

    It names how many entries are not finite and where the first is.
    """
    if hasattr(x, "indptr"):
        return _sparse_norm(argument, x)
    size = _quick_norm(x) or norms.norm(x)
    if math.isfinite(size):
        return size
    host = x if isinstance(x, np.ndarray) else (x.get() if hasattr(x, "get") else x.detach().cpu().numpy())
    bad = ~np.isfinite(host)
    count = int(bad.sum())
    if count == 0:
        return math.inf
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    what = "entry is" if count == 1 else "entries are"
    raise NonFiniteInput(
        f"{argument} is not finite: {count} {what} NaN or infinite, the first at index {first}; remove or replace them",
        argument=argument,
        found=f"{count} non-finite",
    )


def _sparse_norm(argument: str, x: Any) -> float:
    """The same of a matrix in compressed rows."""
    size = norms.norm(x.data) if x.nnz else 0.0
    bad = np.zeros(0, dtype=int) if math.isfinite(size) else np.flatnonzero(~np.isfinite(x.data))
    if not len(bad):
        return size
    row = int(np.searchsorted(x.indptr, bad[0], side="right")) - 1
    what = "entry is" if len(bad) == 1 else "entries are"
    raise NonFiniteInput(
        f"{argument} is not finite: {len(bad)} {what} NaN or infinite, the first at index"
        f" {(row, int(x.indices[bad[0]]))}; remove or replace them",
        argument=argument,
        found=f"{len(bad)} non-finite",
    )


def _quick_norm(x: Any) -> float:
    """Norm of a small contiguous numpy array in two microseconds; 0.0 where that is not to be trusted."""
    if type(x) is not np.ndarray or x.size > norms.SERIAL or x.dtype.char != "d":
        return 0.0
    flat = x.reshape(-1) if x.flags.c_contiguous else x.T.reshape(-1)
    total = norms.dot_small(flat)
    return math.sqrt(total) if 1e-200 < total < 1e200 else 0.0


def _norm_by(lib: Library | None, prepared: Prepared) -> float:
    """Norm of a large A by all threads of a library; 0.0 where that is not to be trusted, or not worth it."""
    task = prepared.task
    if lib is None or task.access != "dense" or task.dtype != "float64" or task.m * task.n < _LARGE:
        return 0.0
    with np.errstate(all="ignore"):
        total = lib.sum_of_squares(lib.asarray(prepared.A))
    return math.sqrt(total) if norms.needs_no_scaling(total, task.dtype) else 0.0


def _exponent(size: float, dtype: str) -> int:
    """Exponent e such that size 2^-e is near one; 0 where no scaling is needed."""
    limit = norms.UNSCALED[dtype]
    if size == 0.0 or 1.0 / limit <= size <= limit:
        return 0
    return math.frexp(size)[1] if math.isfinite(size) else _LARGEST


def _scaled_norm(size: float, scaled: Any, exponent: int) -> float:
    """The norm of what was scaled, from that of what it was before."""
    return math.ldexp(size, -exponent) if math.isfinite(size) else checked_norm("A", scaled)


def _factors_can_be_written(norm_A: float, dtype: str) -> None:
    """Raise InvalidProblem where the singular values of an A of this norm are not in the range of its dtype."""
    info = np.finfo(dtype)
    if norm_A > float(info.max):
        raise InvalidProblem(f"the norm of A is beyond the largest {dtype}; divide A by a constant", argument="A")
    if 0.0 < norm_A < float(info.smallest_normal):  # below, numbers hold only a few digits
        raise InvalidProblem(
            f"the norm of A is below the smallest normal {dtype}: its singular values cannot be written down;"
            " multiply A by a constant",
            argument="A",
        )


def _check_columns(b: Any, dtype: str) -> None:
    """Raise InvalidProblem where the right-hand sides b : (m, r) are too unlike in size to be solved together."""
    ratio = _COLUMN_RATIO[dtype]
    if isinstance(b, np.ndarray):  # seldom more than this is needed
        with np.errstate(all="ignore"):
            total = np.einsum("ij,ij->j", b, b)
        least, most = float(total.min()), float(total.max())
        if ratio**2 * most < least and norms.needs_no_scaling(least, dtype) and norms.needs_no_scaling(most, dtype):
            return
    sizes: list[float] = norms.column_norms(b).tolist()
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    most = min(sizes[largest], float(np.finfo(float).max))  # the norm may be beyond it, where no entry is
    small = [j for j, size in enumerate(sizes) if 0.0 < size < ratio * most]
    if small:
        raise InvalidProblem(
            f"column {small[0]} of b is smaller than column {largest} by a factor of more than"
            f" {1.0 / ratio:.0e}; solve for right-hand sides of such different sizes separately",
            argument="b",
        )


def _scale(x: Any, exponent: int) -> Any:
    while exponent:
        step = max(-126, min(126, exponent))  # a power of two that float32 holds
        x = x * 2.0**-step
        exponent -= step
    return x


def nbytes(value: Any) -> float:
    """Memory of the arrays in an answer or a by-product [B]."""
    size = getattr(value, "nbytes", None)
    if size is not None:
        return float(size)
    if hasattr(value, "indptr"):
        return float(sparse_bytes(value))
    if isinstance(value, (tuple, list)):
        return 0.0 if value and isinstance(value[0], float) else sum(map(nbytes, value))
    return sum(nbytes(getattr(value, f.name)) for f in fields(value)) if is_dataclass(value) else 0.0


def prepare(problem: Problem, task: Task, *, later: bool = False) -> Prepared:
    """Checked and scaled operands of a problem; A itself `later`, if wanted, by `check`. Operators are not looked at.

    Raises
    ------
    NonFiniteInput
        If an operand holds NaN or infinity.
    InvalidProblem
        If right-hand sides are too unlike in size, or a result would be beyond the range of its dtype.
    """
    A, b, dtype = problem.working()
    prepared = Prepared(A, b, task, Evidence(), copied_bytes=float(problem.copied_bytes), checked=False)
    prepared.checked = task.access == "operator"
    if not later:
        check(prepared)
    norm_b = 0.0 if b is None else checked_norm("b", b)
    if task.nrhs > 1:
        _check_columns(b, dtype)
    exponent = _exponent(norm_b, dtype)
    if exponent:
        prepared.exponent_b, prepared.b = exponent, _scale(b, exponent)
        prepared.copied_bytes += task.itemsize * task.m * max(1, task.nrhs)
    return prepared


def check(prepared: Prepared, lib: Library | None = None) -> None:
    """Look at A, where that was not done: its norm becomes known, and it is scaled where that is needed.

    `lib` is the library that is going to run next: its threads may read a large A.

    Raises
    ------
    NonFiniteInput
        If it holds NaN or infinity.
    InvalidProblem
        If a result would be beyond the range of its dtype.
    """
    if prepared.checked:
        return
    task = prepared.task
    norm_A = _norm_by(lib, prepared) or checked_norm("A", prepared.A)
    if prepared.b is None:
        _factors_can_be_written(norm_A, task.dtype)
    exponent = _exponent(norm_A, task.dtype)
    if exponent:
        prepared.exponent_A, prepared.A = exponent, _scale(prepared.A, exponent)
        norm_A = _scaled_norm(norm_A, prepared.A, exponent)
        prepared.copied_bytes += nbytes(prepared.A)
        if task.ridge:
            prepared.task = replace(task, ridge=_ldexp(task.ridge, -2 * exponent))
        # what was seen and made of the unscaled A does not fit this one
        prepared.evidence, prepared.by_products = replace(prepared.evidence, norm_2=None), {}
    prepared.evidence = replace(prepared.evidence, norm_fro=norm_A)
    prepared.checked = True


def scaling_note(prepared: Prepared) -> str:
    """What a person is told of the scaling."""
    return (
        f"the operands are far from unit size: computed with A * 2^{-prepared.exponent_A}"
        f" and b * 2^{-prepared.exponent_b}"
    )


def _ldexp(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError as error:
        raise InvalidProblem(
            f"ridge = {value!r} is beyond the square of the norm of A by more than float64 holds; x is zero to working"
            " accuracy",
            argument="ridge",
        ) from error
