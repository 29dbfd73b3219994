"""The catalogue of kernels: each runs, and is right, on every library."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from autonla.primitives.kernels import library
from autonla.primitives.kernels._operands import GaussianOperands, StructuredOperands
from autonla.primitives.kernels.catalogue import KERNELS

CONTRACT = {
    "gemm": "m n k", "gemv": "m n", "gemv_t": "m n", "syrk": "m n", "potrf": "n", "trsm": "n r",
    "trsm_right": "m n", "getrf": "n", "getrs": "n r", "sytrf": "n", "sytrs": "n r", "gecon": "n",
    "gbsv": "n kl ku r", "geqrf": "m n", "qr": "m n", "gels": "m n r", "gelsd": "m n r", "gelsy": "m n r",
    "gesdd": "m n", "svdvals": "m n", "syevd": "n", "cast": "m n", "copy": "m n", "stream": "m n",
    "symmetry": "n", "randn": "m n", "sparse_sign": "m n l z", "srtt": "m n l",
}  # fmt: skip
BACKENDS = ("scipy", "numpy", "torch", "numba") + (("cupy",) if importlib.util.find_spec("cupy") else ())
CASES = [
    (name, backend, dtype)
    for name, kernel in KERNELS.items()
    for backend in BACKENDS
    for dtype in kernel.dtypes
    if kernel.supports(backend, dtype)
]


def test_names_and_dimensions() -> None:
    assert {name: " ".join(kernel.dims) for name, kernel in KERNELS.items()} == CONTRACT


@pytest.mark.parametrize(("name", "backend", "dtype"), CASES)
def test_kernel_is_right(name: str, backend: str, dtype: str) -> None:
    kernel = KERNELS[name]
    assert kernel.check(backend, dtype) <= kernel.tolerance(dtype)


@pytest.mark.parametrize(("name", "backend"), sorted({(name, backend) for name, backend, _ in CASES}))
def test_kernel_runs_on_timing_operands(name: str, backend: str) -> None:
    kernel = KERNELS[name]
    operands = GaussianOperands(np.random.default_rng(0))
    small = min(kernel.grid("quick"), key=lambda dims: kernel.elements(*dims))
    call = kernel.prepare(backend, small, "float64", operands)
    call()
    call()  # a second call finds its operands as the first did


# A kernel that is wrong in one way each: the gate must see it.
WRONG = {
    "gemm": lambda start: lambda s: (lambda call: lambda: call() * 1.001)(start(s)),
    "syrk": lambda start: lambda s: (lambda call: lambda: call() + 0.01)(start(s)),
    "gelsd": lambda start: lambda s: (lambda call: lambda: call() * 0.99)(start(s)),
    "gemv_t": lambda start: lambda s: (lambda call: lambda: call()[:-1])(start(s)),
    "potrf": lambda start: lambda s: (lambda call: lambda: call() * float("nan"))(start(s)),
    "qr": lambda start: lambda s: (lambda call: lambda: (call()[0] * 2.0, call()[1] / 2.0))(start(s)),
    "gesdd": lambda start: lambda s: (lambda call: lambda: (*call()[:2], -call()[2]))(start(s)),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gate_sees_a_wrong_kernel(name: str, dtype: str) -> None:
    kernel = KERNELS[name]
    wrong = replace(kernel, start=WRONG[name](kernel.start))
    assert wrong.check("numpy", dtype) > kernel.tolerance(dtype)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("rigor", ["quick", "standard", "thorough"])
def test_grid(kernel, rigor: str) -> None:
    grid = kernel.grid(rigor)
    assert len(grid) == len(set(grid)) >= 5
    assert all(len(dims) == len(kernel.dims) for dims in grid)
    assert set(kernel.grid("quick")) <= set(kernel.grid("thorough"))
    sizes = [kernel.bytes_moved(*dims) for dims in grid]
    assert min(sizes) < 2**17  # some fit in a first or second-level cache


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: kernel.name)
def test_counts_grow_with_every_dimension(kernel) -> None:
    for dims in kernel.grid("quick"):
        for i in range(len(dims)):
            larger = (*dims[:i], dims[i] * 2, *dims[i + 1 :])
            assert kernel.flops(*larger) >= kernel.flops(*dims)
            assert kernel.elements(*larger) >= kernel.elements(*dims)
            before, after = kernel.terms(*dims), kernel.terms(*larger)
            assert len(before) == len(after)
            assert all(term >= 0 for term in before)
            assert not before or after[0] >= before[0] > 0  # the dominant arithmetic comes first


def test_structured_operands_are_not_gaussian() -> None:
    A = StructuredOperands()(40, 20, dtype="float64")
    s = np.linalg.svd(A, compute_uv=False)
    norms = np.linalg.norm(A, axis=0)
    assert norms.max() / norms.min() > 5
    assert 10 < s[0] / s[-1] < 1e4


def test_gaussian_operands_share_memory_and_have_full_rank() -> None:
    operands = GaussianOperands(np.random.default_rng(0), 5000)
    A, B = operands(60, 50, dtype="float64"), operands(40, 40, dtype="float64")
    assert A.base is B.base
    assert A.base is not None
    assert not np.shares_memory(A, B)
    assert np.linalg.matrix_rank(A) == 50
    assert operands(2_000_000, dtype="float32").shape == (2_000_000,)


@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
def test_eigenvalues_read_the_upper_triangle(backend):
    lib, rng = library(backend), np.random.default_rng(0)
    S = rng.standard_normal((30, 30))
    S = S + S.T
    spoilt = np.triu(S) + np.tril(np.full((30, 30), np.nan), -1)
    values = lib.to_numpy(lib.eigvalsh(lib.asarray(spoilt)))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(S), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 40), (5, 3), (3, 5), (1, 4), (4, 1), (1, 1), (5, 0), (0, 5), (0, 0)])
def test_qr_of_any_shape_and_order(shape, order, dtype):
    lib = library("scipy")
    A = np.array(np.random.default_rng(0).standard_normal(shape), dtype=dtype, order=order)  # type: ignore[call-overload]
    before, k = A.copy(), min(shape)
    Q, R = lib.qr(A)
    assert (Q.shape, R.shape, Q.dtype, R.dtype) == ((shape[0], k), (k, shape[1]), A.dtype, A.dtype)
    unit = np.finfo(dtype).eps
    np.testing.assert_allclose(Q @ R, A, atol=50 * unit)
    np.testing.assert_allclose(Q.T @ Q, np.eye(k), atol=50 * unit)
    np.testing.assert_array_equal(np.tril(R, -1), 0.0)
    np.testing.assert_array_equal(lib.qr_r(A), R)
    np.testing.assert_array_equal(A, before)
