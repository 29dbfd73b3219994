"""Real data: what ships with scikit-learn, and a folder of matrices where there is one.

The folder is the one that `AUTONLA_SHARED_DATA` names, or `../shared/data` beside a checkout; the tests look in the
same places. What it does not hold is left out, and `left_out` counts it. Sparse matrices are made dense, but for the
families "sparse_linear_system" and "eigenpairs".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from ..budget import Budget
from ..files import read_array
from ..problems import Eigenpairs, LeastSquares, LinearSystem, LowRank, Problem
from .instance import Instance, Maker

DAILY = ("orsirr_1", "well1033", "cranfield_tdm, rank 100", "sparse linear system, wathen100")


def folder() -> Path:
    """Where the matrices are, if anywhere."""
    return Path(os.environ.get("AUTONLA_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared/data")


def real_instances() -> Iterator[Instance]:
    """Every instance whose data are at hand."""
    yield from _of_scikit_learn()
    for instance, files in _of_the_folder():
        if _at_hand(files):
            yield instance


def left_out() -> int:
    """How many instances `real_instances` leaves out for want of their files."""
    return sum(not _at_hand(files) for _, files in _of_the_folder())


def _at_hand(files: tuple[str, ...]) -> bool:
    return all((folder() / file).is_file() for file in files)


# --- the folder

# Linear systems and the accuracies asked of them: stiffness, power networks, circuits, flow, chemistry, economics,
# optimization; symmetric positive definite, indefinite and general; conditions from 1e2 to beyond 1e15.
_SYSTEMS = {
    "1138_bus": 1e-12, "nos7": 1e-14, "bcsstk14": 1e-12, "bcsstk16": 1e-12, "gr_30_30": 1e-13, "lund_a": 1e-12,
    "Si2": 1e-12, "tumorAntiAngiogenesis_2": 1e-12, "sherman1": 1e-10,
    "fuego0": 1e-12, "orsirr_1": 1e-12, "mahindas": 1e-12, "adder_dcop_05": 1e-12, "jpwh_991": 1e-10,
    "west0479": 1e-14, "steam2": 1e-12, "watt_2": 1e-12, "cryg2500": 1e-12,
}  # fmt: skip

# The same of those that stay sparse: a building, mass and stiffness, circuits, a power network, flow (Stokes, oil),
# quantum chemistry, animation.
_SPARSE_SYSTEMS = {
    "nos5": 1e-10, "wathen100": 1e-10, "G2_circuit": 1e-8, "gyro_m": 1e-10, "bcsstk16": 1e-12, "1138_bus": 1e-12,
    "lsc_F_2": 1e-10, "Si2": 1e-10, "sherman5": 1e-10, "gemat12": 1e-12, "adder_dcop_05": 1e-12, "watt_2": 1e-10,
    "fuego0": 1e-10,
}  # fmt: skip
# How many pairs of which end, and how accurate.
_EIGENPAIRS = {
    "Si2": (20, "SA", 1e-8), "nos5": (10, "SA", 1e-8), "bcsstk16": (5, "LA", 1e-10), "wathen100": (10, "LA", 1e-6),
    "musae_facebook_adj": (10, "LA", 1e-8), "G51": (6, "LM", 1e-8), "lsc_F_2": (10, "SA", 1e-8),
}  # fmt: skip


def _of_the_folder() -> Iterator[tuple[Instance, tuple[str, ...]]]:
    """Instances and the files that each needs."""
    for name, accuracy in _SYSTEMS.items():
        yield _real(name, "linear_system", _system(name), accuracy, f"{name}.mtx.gz")
    for name in ("illc1033", "well1033"):
        make = _survey(name)
        yield _real(name, "least_squares", make, 1e-10, f"{name}.mtx.gz", f"{name}_rhs1.npz")
    # rank-deficient by one; wide, of full rank and with a right-hand side that nothing fits
    for name, accuracy in (("maxwell_D0", 1e-8), ("lp_e226", 1e-10), ("lsc_B_2", 1e-8)):
        yield _real(name, "least_squares", _any_right_hand_side(name), accuracy, f"{name}.mtx.gz")
    for ridge in (0.0, 10.0):
        make = _next_layer(ridge)
        yield _real(f"activations, ridge {ridge:g}", "least_squares", make, 1e-4, "activations_minilm.npz")
    for what, file, make, accuracy in (
        ("cranfield_tdm, rank 100", "cranfield_tdm.mtx.gz", _low_rank("cranfield_tdm.mtx.gz", rank=100), 0.05),
        ("cranfield_tdm, by accuracy", "cranfield_tdm.mtx.gz", _low_rank("cranfield_tdm.mtx.gz"), 0.5),
        ("camera, rank 50", "images_gray.npz", _low_rank("images_gray.npz:camera", rank=50), 0.02),
        ("brick, by accuracy", "images_gray.npz", _low_rank("images_gray.npz:brick"), 0.05),
        ("faces, twenty components", "lfw_subset.npz", _low_rank("lfw_subset.npz:X", rank=20, center=True), 1e-3),
        ("shaw_200, by accuracy", "regtools_shaw_200.npz", _low_rank("regtools_shaw_200.npz:A"), 1e-10),
        ("activations, by accuracy", "activations_minilm.npz", _low_rank("activations_minilm.npz:H"), 0.1),
        ("weights, rank 96", "weights_minilm_L0_L5.npz", _low_rank("weights_minilm_L0_L5.npz:L0_W1", rank=96), 0.02),
    ):
        yield _real(what, "low_rank", make, accuracy, file)
    for name, accuracy in _SPARSE_SYSTEMS.items():
        make = _sparse_system(name)
        yield _real(f"sparse linear system, {name}", "sparse_linear_system", make, accuracy, f"{name}.mtx.gz")
    for name, (k, which, accuracy) in _EIGENPAIRS.items():
        make = _pairs(name, k, which)
        yield _real(f"eigenpairs, {name}, {k} {which}", "eigenpairs", make, accuracy, f"{name}.mtx.gz")


def _real(name: str, family: str, make: Maker, accuracy: float, *files: str) -> tuple[Instance, tuple[str, ...]]:
    full = f"{name}, to {accuracy:g}"
    return Instance(full, family, {"real": name}, make, Budget(accuracy=accuracy), name in DAILY), files


def _read(file: str) -> np.ndarray:
    """The array of a file as a matrix; images and activations as they are stored, layers one below the other."""
    A = read_array(folder() / file)
    A = A.toarray() if hasattr(A, "toarray") else np.asarray(A)
    return A if A.ndim < 3 else A.reshape(-1, A.shape[-1])


def _system(name: str) -> Maker:
    def make(rng: np.random.Generator) -> Problem:
        A = _read(f"{name}.mtx.gz")
        return LinearSystem(A, A @ rng.standard_normal(len(A)))

    return make


def _sparse(name: str) -> sp.csr_array:
    return sp.csr_array(read_array(folder() / f"{name}.mtx.gz"), dtype=np.float64)


def _sparse_system(name: str) -> Maker:
    def make(rng: np.random.Generator) -> Problem:
        A = _sparse(name)
        return LinearSystem(A, A @ rng.standard_normal(len(A.indptr) - 1))

    return make


def _pairs(name: str, k: int, which: str) -> Maker:
    return lambda rng: Eigenpairs(_sparse(name), k, which=which)


def _survey(name: str) -> Maker:
    return lambda rng: LeastSquares(_read(f"{name}.mtx.gz"), _read(f"{name}_rhs1.npz"))


def _any_right_hand_side(name: str) -> Maker:
    def make(rng: np.random.Generator) -> Problem:
        A = _read(f"{name}.mtx.gz")
        return LeastSquares(A, rng.standard_normal(len(A)))

    return make


def _next_layer(ridge: float) -> Maker:
    """Eight coordinates of the activations of one layer from those of the layer before."""

    def make(rng: np.random.Generator) -> Problem:
        H = _read("activations_minilm.npz").astype(np.float32)
        per_layer = len(H) // 7
        return LeastSquares(H[:-per_layer], H[per_layer:, :8], ridge=ridge)

    return make


def _low_rank(file: str, *, rank: int | None = None, center: bool = False) -> Maker:
    return lambda rng: LowRank(_read(file), rank=rank, center=center)


# --- what ships with scikit-learn


def _of_scikit_learn() -> Iterator[Instance]:
    for loader, degree, ridge, accuracy in (
        ("load_diabetes", 2, 0.0, 1e-8), ("load_diabetes", 3, 1.0, 1e-8), ("load_breast_cancer", 2, 1.0, 1e-8),
        ("load_wine", 2, 0.1, 1e-8), ("load_iris", 3, 0.0, 1e-6),
    ):  # fmt: skip
        short = loader.removeprefix("load_").replace("_", " ")
        yield Instance(
            f"{short}, degree {degree}, ridge {ridge:g}, to {accuracy:g}", "least_squares", {"real": short},
            _polynomial(loader, degree, ridge), Budget(accuracy=accuracy), loader == "load_breast_cancer",
        )  # fmt: skip
    yield Instance("digits, ten components, to 1e-4", "low_rank", {"real": "digits"}, _digits, Budget(accuracy=1e-4))
    yield Instance("digits, kernel ridge, to 1e-12", "linear_system", {"real": "digits"}, _kernel,
                   Budget(accuracy=1e-12), True)  # fmt: skip
    yield Instance("eigenpairs, kernel matrix of digits, 10 LA, to 1e-08", "eigenpairs", {"real": "digits"},
                   lambda rng: Eigenpairs(_kernel_matrix(), 10), Budget(accuracy=1e-8))  # fmt: skip
    for name in ("china.jpg", "flower.jpg"):
        make = _photograph(name)
        yield Instance(f"{name} in grey, to 0.05", "low_rank", {"real": name}, make, Budget(accuracy=0.05))


def _polynomial(loader: str, degree: int, ridge: float) -> Maker:
    """Regression on polynomials of standardized features."""

    def make(rng: np.random.Generator) -> Problem:
        from sklearn import datasets
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        data: Any = getattr(datasets, loader)()
        X = StandardScaler().fit_transform(data.data)
        return LeastSquares(
            PolynomialFeatures(degree).fit_transform(X), np.asarray(data.target, dtype=float), ridge=ridge
        )

    return make


def _digits(rng: np.random.Generator) -> Problem:
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    return LowRank(data.data, rank=10, center=True)


def _kernel(rng: np.random.Generator) -> Problem:
    from sklearn.datasets import load_digits

    K, data = _kernel_matrix(), load_digits()
    return LinearSystem(K + 0.1 * np.eye(len(K)), np.eye(10)[cast(Any, data).target])


def _kernel_matrix() -> np.ndarray:
    from sklearn.datasets import load_digits
    from sklearn.metrics.pairwise import rbf_kernel

    data: Any = load_digits()
    return rbf_kernel(data.data / 16.0)


def _photograph(name: str) -> Callable[[np.random.Generator], Problem]:
    def make(rng: np.random.Generator) -> Problem:
        from sklearn.datasets import load_sample_image

        return LowRank(load_sample_image(name).mean(axis=2))

    return make
