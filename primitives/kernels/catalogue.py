"""Every kernel that `Work` may name.

A kernel is timed exactly as algorithms call it: through the methods of `library(name)`, on operands in the memory
order that they meet. `flops` and `elements` are nominal; what a library makes of them is the profile's business.
A is m x n unless said.
"""

from __future__ import annotations

import math

from . import _grids as grids
from . import _operands as operand
from . import _trials as run
from ._kernel import DENSE as DENSE
from ._kernel import ITEMSIZE as ITEMSIZE
from ._kernel import REAL as REAL
from ._kernel import TOLERANCE as TOLERANCE
from ._kernel import Count, Terms
from ._kernel import Kernel as Kernel

# -- counts -----------------------------------------------------------------------------------------------------------


def _entries(passes: float) -> Count:
    """So many passes over A (m x n)."""
    return lambda m, n, *rest: passes * m * n


def _square_entries(passes: float) -> Count:
    return lambda n, *rest: passes * n * n


def _factor_and_rhs(n: int, r: int) -> float:
    return 1.0 * n * n + 2.0 * n * r


def _cubic(factor: float) -> Count:
    return lambda n, *rest: factor * n**3


def _solve(factor: float) -> Count:
    return lambda n, r: factor * n * n * r


def _qr(m: int, n: int, r: int = 0) -> float:
    k, longer = min(m, n), max(m, n)
    return 2.0 * k * k * (longer - k / 3.0) + 4.0 * m * n * r


def _svd(long: float, short: float) -> Count:
    """QR of the long side, and what is left to do on the short one."""
    return lambda m, n, r=0: long * min(m, n) * m * n + short * min(m, n) ** 3 + 4.0 * m * n * r


def _panels(m: int, n: int, r: int = 0) -> float:
    """LAPACK factors panels of about 32 columns one column at a time."""
    return 1.0 * m * n * min(m, n, 32)


# -- terms: what the time of a call grows with ------------------------------------------------------------------------


def _only(count: Count) -> Terms:
    return lambda *dims: (count(*dims),)


def _none(*dims: int) -> tuple[float, ...]:
    return ()


def _product_terms(m: int, n: int, k: int) -> tuple[float, ...]:
    return 2.0 * m * n * k, 1.0 * m * n, 1.0 * m * k + n * k


def _vector_terms(m: int, n: int) -> tuple[float, ...]:
    return 2.0 * m * n, float(m), float(n)


def _gram_terms(m: int, n: int) -> tuple[float, ...]:
    return 1.0 * m * n * n, 1.0 * n * n, 1.0 * m * n


def _cubic_terms(n: int) -> tuple[float, ...]:
    return float(n) ** 3, float(n) ** 2, float(n)


def _quadratic_terms(n: int) -> tuple[float, ...]:
    return float(n) ** 2, float(n)


def _solve_terms(n: int, r: int) -> tuple[float, ...]:
    """Blocks of right-hand sides, the few of a narrow block (slower), and the factor read once."""
    return 1.0 * n * n * r, 1.0 * n * n * min(r, 32), 1.0 * n * n, float(n)


def _qr_terms(m: int, n: int, r: int = 0) -> tuple[float, ...]:
    """Blocked updates, what a wide matrix adds, passes over the matrix, and one short loop per column."""
    k, longer = min(m, n), max(m, n)
    wide = 1.0 * m * m * max(0, n - m)
    return k * k * (longer - k / 3.0), wide, 1.0 * k * longer, float(k), *((1.0 * m * n * r,) if r else ())


def _svd_terms(m: int, n: int, r: int = 0) -> tuple[float, ...]:
    """QR of the long side, bidiagonal reduction and divide and conquer of the short one, loops over columns."""
    k, longer = min(m, n), max(m, n)
    wide = 1.0 * m * m * max(0, n - m)
    return 1.0 * k * k * longer, wide, float(k) ** 3, float(k) ** 2, float(k), *((1.0 * m * n * r,) if r else ())


def _banded_terms(n: int, kl: int, ku: int, r: int) -> tuple[float, ...]:
    return 1.0 * n * kl * (kl + ku + 1), 1.0 * n * r * (2 * kl + ku + 1), 1.0 * n * (kl + ku + 1)


def _sparse_sign_terms(m: int, n: int, l: int, z: int) -> tuple[float, ...]:
    return 1.0 * m * n * z, 1.0 * m * z, 1.0 * l * n, 1.0 * m * n


def _transform_terms(m: int, n: int, l: int) -> tuple[float, ...]:
    return m * n * math.log2(max(2, m)), 1.0 * m * n, 1.0 * l * n, float(m)


# numpy hands out no factors: its "solve with a factor" is a general solve.
_numpy_solve: dict[str, Terms] = {"numpy": lambda n, r: (float(n) ** 3, 1.0 * n * n * r, float(n))}
_numpy_right_solve: dict[str, Terms] = {"numpy": lambda m, n: (float(n) ** 3, 1.0 * m * n * n, 1.0 * m * n)}


# -- kernels ----------------------------------------------------------------------------------------------------------

_SCIPY = ("scipy",)

_PRODUCTS = (
    Kernel(
        name="gemm",
        dims=("m", "n", "k"),
        meaning="(m, k) @ (k, n)",
        flops=lambda m, n, k: 2.0 * m * n * k,
        elements=lambda m, n, k: 1.0 * m * k + k * n + m * n,
        terms=_product_terms,
        operands=operand.two_matrices,
        start=run.start_gemm,
        error=run.product_error,
        shapes=grids.PRODUCTS,
        check_dims=(20, 12, 16),
        fresh=lambda m, n, k: 1.0 * m * n,
        dtypes=(*REAL, "bfloat16"),
    ),
    Kernel(
        name="gemv",
        dims=("m", "n"),
        meaning="A x",
        flops=_entries(2.0),
        elements=_entries(1.0),
        terms=_vector_terms,
        operands=operand.matrix_and_x,
        start=run.start("matmul"),
        error=run.product_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
    ),
    Kernel(
        name="gemv_t",
        dims=("m", "n"),
        meaning="A' x",
        flops=_entries(2.0),
        elements=_entries(1.0),
        terms=_vector_terms,
        operands=operand.matrix_and_y,
        start=run.start_gemv_t,
        error=run.transposed_product_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
    ),
    Kernel(
        name="syrk",
        dims=("m", "n"),
        meaning="A' A",
        flops=lambda m, n: 1.0 * m * n * (n + 1),
        elements=lambda m, n: 1.0 * m * n + n * n,
        terms=_gram_terms,
        operands=operand.matrix,
        start=run.start("gram"),
        error=run.gram_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=lambda m, n: 1.0 * n * n,
    ),
)

_FACTORS = (
    Kernel(
        name="potrf",
        dims=("n",),
        meaning="Cholesky factor",
        flops=_cubic(1.0 / 3.0),
        elements=_square_entries(2.0),
        terms=_cubic_terms,
        operands=operand.positive,
        start=run.start("cholesky"),
        error=run.cholesky_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        fresh=_square_entries(1.0),
        double_in_numpy=True,
    ),
    Kernel(
        name="trsm",
        dims=("n", "r"),
        meaning="R^-1 B",
        flops=_solve(1.0),
        elements=_factor_and_rhs,
        terms=_solve_terms,
        operands=operand.positive_and_rhs,
        start=run.start_trsm,
        error=run.triangular_error,
        shapes=grids.SYSTEMS,
        check_dims=(16, 3),
        fresh=lambda n, r: 1.0 * n * r,
        backend_terms=_numpy_solve,
        double_in_numpy=True,
    ),
    Kernel(
        name="trsm_right",
        dims=("m", "n"),
        meaning="A R^-1",
        flops=lambda m, n: 1.0 * m * n * n,
        elements=lambda m, n: 2.0 * m * n + n * n,
        terms=_gram_terms,
        operands=operand.positive_and_matrix,
        start=run.start_trsm_right,
        error=run.right_triangular_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        slowness=2.0,
        backend_terms=_numpy_right_solve,
        double_in_numpy=True,
    ),
    Kernel(
        name="getrf",
        dims=("n",),
        meaning="LU factors",
        flops=_cubic(2.0 / 3.0),
        elements=_square_entries(2.0),
        terms=_cubic_terms,
        operands=operand.general,
        start=run.start("lu_factor"),
        error=run.factor_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        fresh=_square_entries(1.0),
        slowness=0.4,
        double_in_numpy=True,
    ),
    Kernel(
        name="getrs",
        dims=("n", "r"),
        meaning="A^-1 B from LU factors",
        flops=_solve(2.0),
        elements=_factor_and_rhs,
        terms=_solve_terms,
        operands=operand.general_and_rhs,
        start=run.start_getrs,
        error=run.solve_error,
        shapes=grids.SYSTEMS,
        check_dims=(16, 3),
        fresh=lambda n, r: 1.0 * n * r,
        backend_terms=_numpy_solve,
        double_in_numpy=True,
    ),
    Kernel(
        name="gecon",
        dims=("n",),
        meaning="condition estimate from LU factors",
        flops=_square_entries(10.0),
        elements=_square_entries(5.0),
        terms=_quadratic_terms,
        operands=operand.general,
        start=run.start_gecon,
        error=run.condition_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        backends=_SCIPY,
    ),
    Kernel(
        name="sytrf",
        dims=("n",),
        meaning="Bunch-Kaufman factors",
        flops=_cubic(1.0 / 3.0),
        elements=_square_entries(2.0),
        terms=_cubic_terms,
        operands=operand.indefinite,
        start=run.start("ldl_factor"),
        error=run.factor_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        fresh=_square_entries(1.0),
        backends=_SCIPY,
        slowness=2.5,
    ),
    Kernel(
        name="sytrs",
        dims=("n", "r"),
        meaning="A^-1 B from Bunch-Kaufman factors",
        flops=_solve(2.0),
        elements=_factor_and_rhs,
        terms=_solve_terms,
        operands=operand.indefinite_and_rhs,
        start=run.start_sytrs,
        error=run.solve_error,
        shapes=grids.SYSTEMS,
        check_dims=(16, 3),
        fresh=lambda n, r: 1.0 * n * r,
        backends=_SCIPY,
        slowness=3.0,
    ),
    Kernel(
        name="gbsv",
        dims=("n", "kl", "ku", "r"),
        meaning="banded solve, of a dense matrix with kl lower and ku upper diagonals",
        flops=lambda n, kl, ku, r: 2.0 * n * kl * (kl + ku + 1) + 2.0 * n * r * (2 * kl + ku + 1),
        elements=lambda n, kl, ku, r: 2.0 * n * (2 * kl + ku + 1) + 2.0 * n * r,
        terms=_banded_terms,
        operands=operand.banded,
        start=run.start_gbsv,
        error=run.banded_error,
        shapes=grids.BANDED,
        check_dims=(16, 2, 1, 3),
        backends=_SCIPY,
    ),
)

_ORTHOGONAL = (
    Kernel(
        name="geqrf",
        dims=("m", "n"),
        meaning="R of the QR factorization",
        flops=_qr,
        elements=_entries(2.0),
        terms=_qr_terms,
        panels=_panels,
        operands=operand.matrix,
        start=run.start("qr_r"),
        error=run.r_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        slowness=4.0,
        double_in_numpy=True,
    ),
    Kernel(
        name="qr",
        dims=("m", "n"),
        meaning="economic Q and R",
        flops=lambda m, n: 2.0 * _qr(m, n),
        elements=_entries(3.0),
        terms=_qr_terms,
        panels=_panels,
        operands=operand.matrix,
        start=run.start("qr"),
        error=run.qr_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        slowness=2.5,
        double_in_numpy=True,
    ),
    Kernel(
        name="gels",
        dims=("m", "n", "r"),
        meaning="least squares by QR",
        flops=_qr,
        elements=_entries(2.0),
        terms=_qr_terms,
        panels=_panels,
        operands=operand.least_squares,
        start=run.start("lstsq_qr"),
        error=run.least_squares_error,
        shapes=grids.LEAST_SQUARES,
        check_dims=(20, 12, 2),
        fresh=_entries(1.0),
        slowness=4.0,
        double_in_numpy=True,
    ),
    Kernel(
        name="gelsy",
        dims=("m", "n", "r"),
        meaning="least squares by QR with column pivoting",
        flops=_qr,
        elements=_entries(2.0),
        terms=_qr_terms,
        panels=_panels,
        operands=operand.least_squares,
        start=run.start("lstsq_pivoted_qr"),
        error=run.least_squares_error,
        shapes=grids.LEAST_SQUARES,
        check_dims=(20, 12, 2),
        fresh=_entries(1.0),
        slowness=8.0,
        backends=("scipy", "torch", "cupy"),
    ),
    Kernel(
        name="gelsd",
        dims=("m", "n", "r"),
        meaning="least squares by SVD",
        flops=_svd(4.0, 3.0),
        elements=_entries(2.0),
        terms=_svd_terms,
        panels=_panels,
        operands=operand.least_squares,
        start=run.start("lstsq_svd"),
        error=run.least_squares_error,
        shapes=grids.LEAST_SQUARES,
        check_dims=(20, 12, 2),
        fresh=_entries(1.0),
        slowness=4.0,
        double_in_numpy=True,
    ),
    Kernel(
        name="gesdd",
        dims=("m", "n"),
        meaning="economic SVD",
        flops=_svd(6.0, 16.0),
        elements=_entries(3.0),
        terms=_svd_terms,
        panels=_panels,
        operands=operand.matrix,
        start=run.start("svd"),
        error=run.svd_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        slowness=0.75,
        double_in_numpy=True,
    ),
    Kernel(
        name="svdvals",
        dims=("m", "n"),
        meaning="singular values",
        flops=_svd(2.0, 2.0),
        elements=_entries(2.0),
        terms=_svd_terms,
        panels=_panels,
        operands=operand.matrix,
        start=run.start("svdvals"),
        error=run.svdvals_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        slowness=12.0,
        double_in_numpy=True,
    ),
    Kernel(
        name="syevd",
        dims=("n",),
        meaning="eigenvalues and vectors of a symmetric matrix",
        flops=_cubic(9.0),
        elements=_square_entries(2.0),
        terms=_cubic_terms,
        operands=operand.indefinite,
        start=run.start("eigh"),
        error=run.eigh_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        fresh=_square_entries(1.0),
        double_in_numpy=True,
    ),
)

_TRAFFIC = (
    Kernel(
        name="cast",
        dims=("m", "n"),
        meaning="A to this dtype, from the other of float64 and float32",
        flops=_entries(0.0),
        elements=_entries(2.0),
        terms=_none,
        operands=operand.other_dtype,
        start=run.start_cast,
        error=run.same_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        dtypes=(*REAL, "bfloat16"),
        elementwise=True,
    ),
    Kernel(
        name="copy",
        dims=("m", "n"),
        meaning="read and write once",
        flops=_entries(0.0),
        elements=_entries(2.0),
        terms=_none,
        operands=operand.matrix,
        start=run.start_copy,
        error=run.same_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        fresh=_entries(1.0),
        elementwise=True,
    ),
    Kernel(
        name="stream",
        dims=("m", "n"),
        meaning="read once: the norm of A",
        flops=_entries(2.0),
        elements=_entries(1.0),
        terms=_none,
        operands=operand.matrix,
        start=run.start_stream,
        error=run.norm_error,
        shapes=grids.SHAPES,
        check_dims=(20, 12),
        elementwise=True,
    ),
    Kernel(
        name="symmetry",
        dims=("n",),
        meaning="compare A with A', all of it",
        flops=_square_entries(1.0),
        elements=_square_entries(1.0),
        terms=_quadratic_terms,
        operands=operand.square,
        start=run.start_symmetry,
        error=run.symmetry_error,
        shapes=grids.ORDERS,
        check_dims=(16,),
        elementwise=True,
    ),
)

_RANDOM = (
    Kernel(
        name="randn",
        dims=("m", "n"),
        meaning="Gaussian test matrix",
        flops=_entries(20.0),
        elements=_entries(1.0),
        terms=_only(_entries(1.0)),
        operands=operand.nothing,
        start=run.start_randn,
        error=run.randn_error,
        shapes=grids.ENTRIES,
        check_dims=(40, 50),
        fresh=_entries(1.0),
        backends=("numpy",),
    ),
    Kernel(
        name="sparse_sign",
        dims=("m", "n", "l", "z"),
        meaning="S A, with z nonzeros in each column of the sketch S (l x m)",
        flops=lambda m, n, l, z: 2.0 * m * n * z,
        elements=lambda m, n, l, z: 1.0 * m * n + l * n,
        terms=_sparse_sign_terms,
        operands=operand.tall,
        start=run.start_sketch,
        error=run.sketch_error,
        shapes=grids.SPARSE_SIGN,
        check_dims=(30, 5, 12, 4),
        fresh=lambda m, n, l, z: 1.0 * l * n,
        backends=("numba",),
    ),
    Kernel(
        name="srtt",
        dims=("m", "n", "l"),
        meaning="S A, with a subsampled trigonometric transform S (l x m)",
        flops=lambda m, n, l: 2.5 * m * n * math.log2(max(2, m)),
        elements=lambda m, n, l: 2.0 * m * n + l * n,
        terms=_transform_terms,
        panels=lambda m, n, l: m * n * math.log2(max(2, m)),
        operands=operand.tall,
        start=run.start_sketch,
        error=run.sketch_error,
        shapes=grids.TRANSFORMS,
        check_dims=(30, 5, 12),
        fresh=lambda m, n, l: 1.0 * l * n,
        backends=_SCIPY,
        slowness=8.0,
    ),
)

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel for group in (_PRODUCTS, _FACTORS, _ORTHOGONAL, _TRAFFIC, _RANDOM) for kernel in group
}
"""Kernels by name."""
