"""Sparse matrices by stated recipes, and the instances made of them: linear systems and eigenpairs.

Differences and elements on grids, graphs, mixed forms, flow with convection: what the methods differ on is the fill of
factors (little in two dimensions, much in three, nearly everything on a random graph), the count of iterations (meshes
against contrasts, anisotropy and fourth order), definiteness and symmetry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..budget import Budget
from ..problems import Eigenpairs, LinearSystem, Problem
from .instance import Instance, Maker
from .spectra import SPECTRA

_diagonals: Any = sp.diags_array  # its declared types say that one diagonal is all it takes
Matrix = Callable[[np.random.Generator], Any]
"""A sparse matrix from a generator of random numbers."""


# --- matrices


def poisson(*sides: int) -> sp.csr_array:
    """Minus the Laplacian by second differences, zero at the boundary, mesh width one; positive definite."""
    A = sp.csr_array((1, 1))
    for side in sides:
        A = sp.kronsum(_second_difference(side), A)
    return sp.csr_array(A)


def _second_difference(n: int) -> sp.csr_array:
    return _tridiagonal(n, -1.0, 2.0, -1.0)


def _tridiagonal(n: int, below: float, main: float, above: float) -> sp.csr_array:
    return sp.csr_array(_diagonals([below, main, above], offsets=[-1, 0, 1], shape=(n, n)))


def anisotropic(side: int, ratio: float, angle: float) -> sp.csr_array:
    """-div(D grad u) by bilinear elements on a square; D has the eigenvalues 1, along `angle`, and `ratio`."""
    c, s = np.cos(angle), np.sin(angle)
    D = np.array([[c * c + ratio * s * s, (1.0 - ratio) * c * s], [(1.0 - ratio) * c * s, s * s + ratio * c * c]])
    stiff, slope = _second_difference(side), _tridiagonal(side, -0.5, 0.0, 0.5)
    mass = _tridiagonal(side, 1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0)
    along = D[0, 0] * sp.kron(stiff, mass) + D[1, 1] * sp.kron(mass, stiff)
    return sp.csr_array(along - 2.0 * D[0, 1] * sp.kron(slope, slope))


def contrast(rng: np.random.Generator, side: int, decades: float) -> sp.csr_array:
    """-div(a grad u) by finite volumes on a square; a is log-uniform over `decades`, from cell to cell."""
    B = _faces(side)
    a = 10.0 ** (decades * rng.random(2 * side * (side + 1)))
    return sp.csr_array(B @ sp.diags_array(a) @ B.T)


def _faces(side: int) -> sp.csr_array:
    """(side^2, 2 side (side + 1)) incidence of cells and their faces, those of the boundary included."""
    one = _diagonals([-1.0, 1.0], offsets=[0, 1], shape=(side, side + 1))
    eye = sp.eye_array(side)
    return sp.csr_array(sp.hstack([sp.kron(one, eye), sp.kron(eye, one)]))


def mixed(rng: np.random.Generator, side: int, decades: float) -> sp.csr_array:
    """Darcy flow in mixed form, [diag(1 / a), B'; B, 0]: symmetric and indefinite, with zeros on the diagonal."""
    B = _faces(side)
    a = 10.0 ** (decades * rng.random(2 * side * (side + 1)))
    return sp.csr_array(sp.block_array([[sp.diags_array(1.0 / a), B.T], [B, None]]))


def convection(*sides: int, speed: float) -> sp.csr_array:
    """-Laplace(u) + speed (1, 0.5, 0.25) . grad(u), upwind differences; `speed` per mesh width. Not symmetric."""
    A = sp.csr_array((1, 1))
    for axis, side in enumerate(sides):
        A = sp.kronsum(_second_difference(side) + speed * 0.5**axis * _tridiagonal(side, -1.0, 1.0, 0.0), A)
    return sp.csr_array(A)


def shifted(A: Any, shift: float) -> sp.csr_array:
    """A - shift I."""
    return sp.csr_array(A - shift * sp.eye_array(A.shape[0]))


def laplacian(adjacency: sp.csr_array, shift: float = 0.0) -> sp.csr_array:
    """Of a graph, plus `shift` I."""
    degrees = adjacency.sum(axis=1)
    return sp.csr_array(sp.diags_array(degrees + shift) - adjacency)


def _graph(n: int, i: np.ndarray, j: np.ndarray) -> sp.csr_array:
    """Adjacency matrix of some edges; loops are dropped, and an edge counts once."""
    apart = i != j
    ends = np.unique(np.sort(np.stack([i[apart], j[apart]]), axis=0), axis=1)
    half = sp.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(n, n))
    return sp.csr_array(half + half.T)


def geometric_graph(rng: np.random.Generator, n: int, degree: float) -> sp.csr_array:
    """Points of the unit square joined where they are near; `degree` neighbours in the mean."""
    from scipy.spatial import KDTree

    pairs = KDTree(rng.random((n, 2))).query_pairs(np.sqrt(degree / (np.pi * n)), output_type="ndarray")
    return _graph(n, pairs[:, 0], pairs[:, 1])


def random_graph(rng: np.random.Generator, n: int, permutations: int) -> sp.csr_array:
    """The union of random permutations, nearly regular: no small set of nodes separates it, so factors fill."""
    i = np.tile(np.arange(n), permutations)
    return _graph(n, i, np.concatenate([rng.permutation(n) for _ in range(permutations)]))


def scale_free_graph(rng: np.random.Generator, n: int, edges: int) -> sp.csr_array:
    """Each new node is joined to `edges` ends of earlier edges (Barabasi and Albert 1999, Science 286)."""
    ends = list(range(edges)) * 2
    i, j = [], []
    for node in range(edges, n):
        chosen = [ends[int(k)] for k in rng.integers(len(ends), size=edges)]
        i += [node] * edges
        j += chosen
        ends += [*chosen, *[node] * edges]
    return _graph(n, np.array(i), np.array(j))


def pagerank(rng: np.random.Generator, n: int, links: int, damping: float) -> sp.csr_array:
    """I - damping P' of a random surfer; each page links to `links` others, few of which get most links."""
    i = np.repeat(np.arange(n), links)
    j = (n * rng.random(n * links) ** 2).astype(int)
    P = sp.csr_array(sp.coo_array((np.full(n * links, 1.0 / links), (i, j)), shape=(n, n)))
    return sp.csr_array(sp.eye_array(n) - damping * P.T)


def schroedinger(rng: np.random.Generator, side: int, depth: float) -> sp.csr_array:
    """-Laplace(u) + V u on a square: a harmonic well with random disorder of a tenth of its depth."""
    x = np.linspace(-1.0, 1.0, side)
    well = depth * (x[:, None] ** 2 + x[None, :] ** 2).ravel()
    return sp.csr_array(poisson(side, side) + sp.diags_array(well + 0.1 * depth * rng.random(side * side)))


# --- linear systems


def _system(matrix: Matrix, columns: int = 0, dtype: str = "float64", *, operator: bool = False) -> Maker:
    """`columns` right-hand sides; 0 for a vector. An operator is declared positive definite."""

    def make(rng: np.random.Generator) -> Problem:
        A = matrix(rng).astype(dtype)
        b = rng.standard_normal((A.shape[0], columns) if columns else A.shape[0]).astype(dtype)
        if operator:
            from scipy.sparse.linalg import aslinearoperator

            return LinearSystem(aslinearoperator(A), b, assume="spd")
        return LinearSystem(A, b)

    return make


def _fixed(A: Callable[..., Any], *sizes: Any, **options: Any) -> Matrix:
    """A matrix without random entries."""
    return lambda rng: A(*sizes, **options)


def _drawn(A: Callable[..., Any], *sizes: Any) -> Matrix:
    """A matrix with random entries."""
    return lambda rng: A(rng, *sizes)


def sparse_systems() -> Iterator[Instance]:
    """Linear systems: definite and easy, definite and hard, indefinite, general; limits, operators, several columns."""
    square, cube = _fixed(poisson, 120, 120), _fixed(poisson, 25, 25, 25)
    helmholtz = _fixed(lambda: shifted(poisson(100, 100), 0.1))
    for name, structure, matrix, accuracy, daily in (
        ("Poisson 60x60", "spd", _fixed(poisson, 60, 60), 1e-8, False),
        ("Poisson 120x120", "spd", square, 1e-8, True),
        ("Poisson 120x120", "spd", square, 1e-3, False),
        ("Poisson 250x250", "spd", _fixed(poisson, 250, 250), 1e-8, False),
        ("Poisson 16x16x16", "spd", _fixed(poisson, 16, 16, 16), 1e-10, True),
        ("Poisson 25x25x25", "spd", cube, 1e-10, False),
        ("geometric graph of 10000", "spd", lambda rng: laplacian(geometric_graph(rng, 10_000, 8.0), 1e-2), 1e-8,
         False),
        ("random graph of 3000", "spd", lambda rng: laplacian(random_graph(rng, 3000, 2), 1e-2), 1e-8, False),
        ("scale-free graph of 3000", "spd", lambda rng: laplacian(scale_free_graph(rng, 3000, 3), 1e-3), 1e-10, False),
        ("anisotropic 100x100, 1e-3", "spd", _fixed(anisotropic, 100, 1e-3, np.pi / 6.0), 1e-10, False),
        ("contrast 80x80, six decades", "spd", _drawn(contrast, 80, 6.0), 1e-12, True),
        ("contrast 200x200, two decades", "spd", _drawn(contrast, 200, 2.0), 1e-8, False),
        ("fourth order 60x60", "spd", _fixed(lambda: poisson(60, 60) @ poisson(60, 60)), 1e-12, False),
        ("Helmholtz 100x100", "indefinite", helmholtz, 1e-8, True),
        ("Helmholtz 18x18x18", "indefinite", _fixed(lambda: shifted(poisson(18, 18, 18), 0.5)), 1e-8, False),
        ("mixed Darcy 60x60", "indefinite", _drawn(mixed, 60, 2.0), 1e-10, False),
        ("convection 120x120", "general", _fixed(convection, 120, 120, speed=1.0), 1e-8, True),
        ("convection 120x120, slow", "general", _fixed(convection, 120, 120, speed=0.01), 1e-10, False),
        ("convection 22x22x22", "general", _fixed(convection, 22, 22, 22, speed=0.5), 1e-8, False),
        ("PageRank of 3000", "general", _drawn(pagerank, 3000, 5, 0.85), 1e-8, False),
        ("PageRank of 5000", "general", _drawn(pagerank, 5000, 3, 0.5), 1e-8, False),
    ):  # fmt: skip
        yield _instance(name, structure, _system(matrix), Budget(accuracy=accuracy), daily)
    yield _instance("Poisson 120x120, 20 right-hand sides", "spd", _system(square, 20), Budget(accuracy=1e-8))
    yield _instance("Poisson 120x120, float32", "spd", _system(square, dtype="float32"), Budget(accuracy=1e-4))
    yield _instance("Poisson 120x120, operator", "spd", _system(square, operator=True), Budget(accuracy=1e-8))
    for name, structure, matrix in (("Poisson 25x25x25", "spd", cube), ("Helmholtz 100x100", "indefinite", helmholtz)):
        yield _instance(name, structure, _system(matrix), Budget(accuracy=1e-6, memory="8 MB"))


def _instance(name: str, structure: str, make: Maker, budget: Budget, daily: bool = False) -> Instance:
    within = "" if budget.memory is None else f", within {1e-6 * budget.memory:g} MB"
    tags: dict[str, Any] = {"structure": structure, "recipe": name}
    if budget.limited:
        tags["limited"] = True
    return Instance(
        f"sparse linear system, {name}, to {budget.accuracy:g}{within}", "sparse_linear_system", tags, make, budget,
        daily,
    )  # fmt: skip


# --- eigenpairs


def _pairs(matrix: Matrix, k: int, which: str) -> Maker:
    return lambda rng: Eigenpairs(matrix(rng), k, which=which)


def dense_symmetric(
    rng: np.random.Generator, n: int, spectrum: str, dtype: str = "float64", library: str = "numpy"
) -> Any:
    """Random eigenvectors, and a spectrum of `SPECTRA` from 1 to 1e-6; or the Gaussian orthogonal ensemble."""
    if spectrum == "semicircle":
        A = rng.standard_normal((n, n))
    else:
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        A = (Q * SPECTRA[spectrum](n, 1e6)) @ Q.T
    A = (0.5 * (A + A.T)).astype(dtype)
    if library == "torch":
        import torch

        return torch.from_numpy(A)
    return A


def eigenpairs() -> Iterator[Instance]:
    """Ends of the spectra of meshes, graphs and dense matrices; smallest magnitudes of an indefinite one."""
    square, well = _fixed(poisson, 80, 80), _drawn(schroedinger, 100, 1.0)
    cube = _fixed(poisson, 18, 18, 18)
    communities = lambda rng: laplacian(geometric_graph(rng, 5000, 12.0))  # noqa: E731
    scale_free = partial(scale_free_graph, n=10_000, edges=4)
    for name, matrix, k, which, accuracy, daily in (
        ("Poisson 80x80", square, 10, "SA", 1e-8, True),
        ("Poisson 80x80", square, 10, "LA", 1e-6, False),
        ("Poisson 18x18x18", cube, 10, "SA", 1e-8, False),
        ("Poisson 18x18x18", cube, 10, "LA", 1e-8, False),
        ("well 100x100", well, 20, "SA", 1e-8, False),
        ("geometric graph of 5000", communities, 8, "SA", 1e-6, False),
        ("scale-free graph of 10000", scale_free, 10, "LA", 1e-8, True),
        ("scale-free graph of 10000", scale_free, 6, "LM", 1e-8, False),
        ("Helmholtz 60x60", _fixed(lambda: shifted(poisson(60, 60), 0.5)), 5, "SM", 1e-8, False),
        ("dense 300, exponential", _drawn(dense_symmetric, 300, "exponential"), 5, "LA", 1e-10, False),
        ("dense 1500, polynomial", _drawn(dense_symmetric, 1500, "polynomial"), 20, "LA", 1e-8, True),
        ("dense 1500, exponential", _drawn(dense_symmetric, 1500, "exponential"), 10, "SA", 1e-8, False),
        ("dense 1000, semicircle", _drawn(dense_symmetric, 1000, "semicircle"), 10, "LA", 1e-8, False),
        ("dense 1000, semicircle", _drawn(dense_symmetric, 1000, "semicircle"), 300, "LM", 1e-10, False),
        ("dense 1000, flat, float32", _drawn(dense_symmetric, 1000, "flat", "float32"), 10, "LA", 1e-4, False),
        ("dense 1000, polynomial, torch", _drawn(dense_symmetric, 1000, "polynomial", "float64", "torch"), 10, "LA",
         1e-8, False),
    ):  # fmt: skip
        yield Instance(
            f"eigenpairs, {name}, {k} {which}, to {accuracy:g}", "eigenpairs", {"recipe": name, "which": which},
            _pairs(matrix, k, which), Budget(accuracy=accuracy), daily,
        )  # fmt: skip
