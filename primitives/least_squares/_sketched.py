"""What is left of a least-squares problem after sketching: the R factor of S A, and Q' S b.

S is a subspace embedding with l rows: the singular values of S Q, Q an orthonormal basis of range(A), lie within
1 +- sqrt(n / l) (Marchenko-Pastur edges; sparse sign embeddings with a few nonzeros a column behave like Gaussian
ones, Martinsson and Tropp, Acta Numerica 29 (2020), sec. 9.2). R therefore preconditions A, its singular values stand
for those of A, and [R, Q'S b] holds every solution of the sketched problem in n^2 + n r numbers; S A is not kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..evidence import Evidence
from ..kernels._library import Library
from ..sketches import make_sketch
from ..task import ITEMSIZE, Task
from ..tuning import DEFAULT
from ..work import Calls, KernelCall
from ._memory import geqrf
from ._shared import scaled_identity

if TYPE_CHECKING:
    from ..sketches import SketchKind

Array = Any

EXACT_BELOW = 40  # order up to which all singular values are cheaper than a Lanczos iteration
LANCZOS_STEPS = 12


@dataclass(frozen=True, slots=True, eq=False)
class SketchedFactor:
    """QR factorization of the sketched problem [S A, S b].

    Attributes
    ----------
    kind : str
        "sparse_sign" | "gaussian" | "srtt", or "identity": S = I, the factor is that of A itself.
    nonzeros : int
        Nonzeros per column of a sparse S, else 0.
    rows, seed : int
        Rows of S, and the key of its random stream.
    R : (n, n) array
        Upper triangular, R'R = (S A)'(S A).
    z : (n,) or (n, r) array
        Q' S b: R^-1 z minimises ||S (b - A x)||.
    residual : (r,) numpy array
        The minima.
    column_scale : (n,) numpy array
        Norms of the columns of R; 1 where they vanish.
    distortion : float
        sqrt(n / rows); 0 for the identity.
    """

    kind: str
    nonzeros: int
    rows: int
    seed: int
    R: Array
    z: Array
    residual: np.ndarray
    column_scale: np.ndarray
    distortion: float

    def regularized(self, lib: Library, ridge: float) -> tuple[Array, Array]:
        """R and z of the sketched problem with the rows sqrt(ridge) I appended, exactly and after sketching."""
        R, z = lib.asarray(self.R), lib.asarray(self.z)
        return (R, z) if ridge == 0.0 else append_diagonal(lib, R, z, math.sqrt(ridge))


def append_diagonal(lib: Library, R: Array, z: Array, scale: float) -> tuple[Array, Array]:
    """R and z after QR of [R; scale I] and [z; 0]."""
    xp, n = lib.xp, R.shape[0]
    columns = z[:, None] if z.ndim == 1 else z
    top = xp.concat([R, columns], axis=1)
    bottom = xp.concat([scaled_identity(lib, R, n, scale), xp.zeros_like(columns)], axis=1)
    T = lib.qr_r(xp.concat([top, bottom], axis=0))
    return _kept(lib, T[:n, :n]), _kept(lib, T[:n, n] if z.ndim == 1 else T[:n, n:])


def regularized_entries(backend: str, n: int, r: int) -> float:
    """Numbers that `append_diagonal` holds at its peak."""
    return 4.2 * n * (n + r) + 2.0 * n * n + geqrf(backend, 2 * n, n + r)


def _kept(lib: Library, part: Array) -> Array:
    """A part of a larger array, copied so that it lies together and the rest can go."""
    return lib.xp.asarray(part, copy=True)


def probe_rows(m: int, n: int) -> int | None:
    """Rows of the probe's sketch of a tall A; None where no sketch is much shorter than A.

    4 n where that is at most an eighth of the rows, else 2 n, whose QR costs half: conditions of S Q are 3 and 5.8.
    The 64 rows more matter for small n only, where the edges fluctuate.
    """
    rows = 4 * n if m >= 32 * n else 2 * n
    rows = max(rows, n + 64)
    return rows if 2 * rows <= m else None


def nonzeros_for(rows: int, n: int, enough: int = DEFAULT.nonzeros) -> int:
    """Nonzeros per column of a sparse sign sketch: `enough` (4) do where there are 4 n rows, fewer need twice that.

    On the first n unit vectors, the worst case, cond(S Q) is 3.2 with 4 at 4 n rows (Gaussian: 2.9), but 5.9 and
    5.5 with 4 and 8 at 2 n; a third of the time is in the nonzeros.
    """
    return enough if rows >= 4 * n else 2 * enough


def sketched_factor(
    lib: Library, A: Array, b: Array, kind: str, rows: int, seed: int, enough: int = DEFAULT.nonzeros
) -> SketchedFactor:
    """Sketch A : (m, n) and b : (m,) or (m, r) with the same S, and factor; kind "identity" factors A itself.

    `enough` is that of `nonzeros_for`.
    """
    m, n = A.shape
    columns = b[:, None] if b.ndim == 1 else b
    nonzeros = nonzeros_for(rows, n, enough) if kind == "sparse_sign" else 0
    if kind == "identity":
        rows = m
        T = lib.qr_r(lib.xp.concat([A, columns], axis=1))
    else:
        S = make_sketch(cast("SketchKind", kind), rows, m, seed, **({"nonzeros": nonzeros} if nonzeros else {}))
        T = lib.qr_r(lib.xp.concat([lib.asarray(S.apply(A)), lib.asarray(S.apply(columns))], axis=1))
    R = _kept(lib, T[:n, :n])
    residual = np.linalg.norm(np.asarray(lib.to_numpy(T[n:, n:]), dtype=np.float64), axis=0)
    scale = np.linalg.norm(np.asarray(lib.to_numpy(R), dtype=np.float64), axis=0)
    return SketchedFactor(
        kind=kind,
        nonzeros=nonzeros,
        rows=rows,
        seed=seed,
        R=R,
        z=_kept(lib, T[:n, n] if b.ndim == 1 else T[:n, n:]),
        residual=residual,
        column_scale=np.where(scale > 0.0, scale, 1.0),
        distortion=0.0 if kind == "identity" else math.sqrt(n / rows),
    )


def obtain(
    lib: Library, A: Array, b: Array, task: Task, kind: str, rows: int, reuse: Mapping[str, Any]
) -> SketchedFactor:
    """The probe's sketch when it is the one asked for, else a new one."""
    found = reuse.get("sketch")
    if isinstance(found, SketchedFactor) and found.kind in (kind, "identity") and found.rows >= rows:
        return found
    return sketched_factor(lib, A, b, kind, rows, task.seed, task.tuning.nonzeros)


def made_by_probe(task: Task, evidence: Evidence, kind: str, rows: int) -> bool:
    """Whether the probe has left the sketch asked for (it alone finds the coherence)."""
    return evidence.coherence is not None and kind == "sparse_sign" and probe_rows(task.m, task.n) == rows


def factored_by_probe(task: Task, evidence: Evidence) -> bool:
    """Whether the probe has left the QR factorization of A itself."""
    return evidence.coherence is not None and task.m >= task.n and probe_rows(task.m, task.n) is None


def sketch_calls(task: Task, kind: str, rows: int, k: Calls) -> tuple[KernelCall, ...]:
    """Kernel calls of `sketched_factor`."""
    m, n, r = task.m, task.n, task.nrhs
    z = nonzeros_for(rows, n, task.tuning.nonzeros)
    factor = k("geqrf", rows, n + r)
    if kind == "sparse_sign":
        numba = Calls("numba", k.dtype)
        return numba("sparse_sign", m, n, rows, z), numba("sparse_sign", m, r, rows, z), factor
    if kind == "srtt":
        return Calls("scipy", k.dtype)("srtt", m, n + r, rows), factor
    return Calls("numpy", k.dtype)("randn", rows, m), k("gemm", rows, n + r, m), factor


def sketch_bytes(task: Task, kind: str, rows: int, dtype: str) -> float:
    """Peak of the memory `sketched_factor` takes: while sketching, or in the QR of the sketch."""
    m, n, r = task.m, task.n, task.nrhs
    itemsize = ITEMSIZE[dtype]
    factoring = rows * (n + r) + geqrf("scipy", rows, n + r)
    if kind == "sparse_sign":  # sums of its own for each of the segments that threads share, in tiles of a cache line
        segments = max(1.0, min(16.0, m / (8.0 * rows), m / 8192.0))
        line = 64 // itemsize
        padded = -(-n // line) * line
        sketching = itemsize * (segments + 2.0) * rows * padded + min(2.0**21, 1024.0 * itemsize * padded) + 2.0**17
    elif kind == "srtt":  # 32 MiB of columns at a time, permuted and weighted; the permutation
        sketching = 2.1 * min(itemsize * m * n, max(2.0**25, itemsize * m)) + 40.0 * m + itemsize * rows * n
    else:  # 16 MiB of the operator at a time, its random words and two partial sums
        sketching = 2.3 * min(itemsize * rows * m, max(2.0**24, itemsize * rows)) + 3.0 * itemsize * rows * n
    return max(itemsize * factoring, sketching)


def extreme_singular_values(R: np.ndarray) -> tuple[float, float]:
    """Largest and smallest singular value of an upper triangular R : (n, n), to a few percent.

    Exact for small n; else by Lanczos on R'R and on its inverse from a random start, where the relative error of
    k steps exceeds (ln(1.648 sqrt(n) / d) / (2 k - 1))^2 with probability at most d (Kuczynski and Wozniakowski, SIAM
    J. Matrix Anal. Appl. 13 (1992), 1094-1122). The largest is then never above, the smallest never below its value.
    """
    R = np.asarray(R, dtype=np.float64)
    n = R.shape[0]
    if not np.isfinite(R).all() or np.min(np.abs(np.diagonal(R)), initial=np.inf) == 0.0 or n <= EXACT_BELOW:
        s = singular_values(R)
        return float(s[0]), float(s[-1])
    from ..kernels import library

    lib = library("scipy")
    largest = math.sqrt(_lanczos(lambda v: lib.rmatmul(R, lib.matmul(R, v)), n))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        inverse = _lanczos(lambda v: lib.cholesky_solve(R, v), n)
    if not math.isfinite(inverse):
        s = singular_values(R)
        return float(s[0]), float(s[-1])
    return largest, 1.0 / math.sqrt(inverse)


def singular_values(R: np.ndarray) -> np.ndarray:
    """All singular values, descending."""
    from ..kernels import library

    return library("scipy").svdvals(R)


def _lanczos(apply: Any, n: int) -> float:
    """Largest eigenvalue of a positive semidefinite operator, from below; full reorthogonalization."""
    from ..kernels import library

    lib = library("scipy")
    v = np.random.Generator(np.random.Philox(key=n)).standard_normal(n)
    basis = np.zeros((LANCZOS_STEPS, n))
    alpha, beta = np.zeros(LANCZOS_STEPS), np.zeros(LANCZOS_STEPS)
    norm = float(np.linalg.norm(v))
    for j in range(LANCZOS_STEPS):
        basis[j] = v / norm
        v = apply(basis[j])
        alpha[j] = basis[j] @ v
        for _ in range(2):
            v = v - lib.rmatmul(basis[: j + 1], lib.matmul(basis[: j + 1], v))
        norm = beta[j] = math.sqrt(float(np.einsum("i,i->", v, v)))  # einsum: a dot product may wake numpy's pool
        if not math.isfinite(norm):
            return math.inf
        if norm <= 1e-14 * abs(alpha[0]):
            break
    k = j + 1
    T = np.diag(alpha[:k]) + np.diag(beta[: k - 1], 1) + np.diag(beta[: k - 1], -1)
    return float(np.linalg.eigvalsh(T)[-1])
