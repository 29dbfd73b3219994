"""Eigenpairs of one part of a symmetric spectrum, whatever A is: an array, sparse, or an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.eigenpairs import arpack
from ...primitives.eigenpairs import filtered_krylov_schur as krylov
from ...primitives.eigenpairs._common import FOUND, Symmetric, host, product_bytes, random_block, supposed, wanted
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.sparse_linear_system import SYMMETRIC, superlu
from ...primitives.sparse_linear_system._common import reading, vectors
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import sparse_structure
from ...profiles.errors import DeclarationMismatch, InvalidProblem, NoAlgorithm
from ..certificate import Certificate
from ..certify import eigenpairs as certificate
from ..plans import Candidate
from ..problems import Eigenpairs, Problem
from ..solution import Eigensystem
from ._base import ProbeStep, times_power_of_two
from ._matrix_free import MatrixFreeKind, direct_error, fill, held, looked, not_definite, stored, told

_SMALL, _SMALL_ARRAY = 200, 400  # orders up to which LAPACK takes about as long as planning, or is likely to be chosen
_STEPS = 60  # of the Lanczos probe
_DENSE = 3000  # order of an array from which its products are little beside LAPACK
# What the probe of the spectrum may find: (chance, gap beyond the wanted end over the spread of the spectrum), of large
# eigenvalues and of small ones. Guesses, made with a dozen real matrices and grids in view, not a fit.
_LARGE = (0.45, 0.1), (0.3, 1e-2), (0.17, 7e-4), (0.08, 1e-4)
_LITTLE = (0.2, 0.1), (0.3, 1e-2), (0.3, 5e-4), (0.2, 5e-5)


def _structure(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    if task.access == "operator":
        task, evidence, mismatch = sparse_structure.run(A, task, evidence)
        if mismatch:
            raise DeclarationMismatch(mismatch, argument="assume", found=mismatch)
        return task, evidence, {}
    explicit = host(A) if task.access == "dense" else A
    difference, size = certificate.asymmetry(explicit, task)
    if not certificate.symmetric_enough(difference, size, task):
        raise InvalidProblem(_not_symmetric(difference, size), argument="A", found="not symmetric")
    least = float(explicit.diagonal().min()) if task.n else 0.0
    if least < 0.0 and task.structure == "spd":
        raise DeclarationMismatch(
            "A was declared spd, and an entry of its diagonal is negative", argument="assume", found="indefinite"
        )
    sentence = "A is symmetric" + (", and not positive definite: its diagonal is not positive" if least < 0.0 else "")
    return task, replace(told(evidence, "structure", sentence), diagonal_pivots=True), {}


def _not_symmetric(difference: float, size: float) -> str:
    return (
        f"A is not symmetric: ||A - A'|| is {difference / size:.1e} of ||A||. Eigenpairs are found of symmetric"
        " matrices; if it should be one, pass (A + A.T) / 2"
    )


def _spectrum(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    found = looked(Symmetric(A, task), random_block(task, 0)[:, 0], _STEPS)
    low, high = float(found.values[0]), float(found.values[-1])
    if task.structure == "spd":
        _check_sign(low, max(abs(low), abs(high)))
    evidence = replace(evidence, ritz=found.triples)
    sentence = f"its Ritz values go from {low:.4g} to {high:.4g} in {found.steps} Lanczos steps"
    return task, told(evidence, "spectrum", sentence), {}


def _check_sign(low: float, size: float, rounding: float = 0.0) -> None:
    """Raise DeclarationMismatch where a Rayleigh quotient of a matrix that is declared spd is negative."""
    if low < -max(1e-12, rounding) * size:
        raise not_definite()


def _spectra(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    """From easy to hard, those with a gap after the wanted end and those without."""
    spectra = _LARGE if task.which in ("LA", "LM") else _LITTLE
    return [(chance, replace(evidence, ritz=supposed(task, gap))) for chance, gap in spectra]


class EigenpairsKind(MatrixFreeKind):
    """A V = V diag(w)."""

    name = "eigenpairs"
    defaults = frozenset({"lapack", "arpack", "arpack_shift_invert"})
    probes_count_iterations = True

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "structure",
                lambda t, e: True,
                lambda t, e, backend: Work((reading(product_bytes(t, e), 4.0),), 24.0 * t.nnz),
                _structure,
                always=True,
            ),
            ProbeStep(
                "spectrum",
                lambda t, e: not e.ritz and t.n > _SMALL and (t.access != "dense" or t.n >= _DENSE),
                lambda t, e, backend: Work(
                    (reading(product_bytes(t, e), _STEPS), vectors(t.n, 12.0 * _STEPS)), 8.0 * 8.0 * t.n
                ),
                _spectrum,
                _spectra,
                thin_calls=12.0 * _STEPS,
            ),
            ProbeStep(
                "fill",
                lambda t, e: t.access == "sparse" and e.fill is None and t.which in ("SA", "SM") and t.n > _SMALL,
                lambda t, e, backend: sparse_structure.fill_work(t),
                fill,
                always=True,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, Eigenpairs)
        if problem.device != "cpu":
            raise NoAlgorithm(
                "no algorithm registered yet for eigenpairs of an array on a GPU; pass a copy on the CPU",
                kind=problem.kind,
            )
        if problem.access == "operator" and problem.assume not in SYMMETRIC:
            raise InvalidProblem(
                "an operator does not show whether it is symmetric: declare assume='symmetric', or 'spd'",
                argument="assume",
                found=repr(problem.assume),
            )
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=0, dtype=dtype, target=target, rank=problem.k, seed=seed,
            structure="spd" if problem.assume == "spd" else "symmetric", which=problem.which, **stored(problem, A),
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        what = {
            "LA": "largest", "SA": "smallest", "LM": "largest in magnitude", "SM": "smallest in magnitude"
        }[task.which]  # fmt: skip
        plural = "s" if wanted(task) > 1 else ""
        return f"{wanted(task)} eigenpair{plural} ({what}) of {task.n} x {task.n}, {task.dtype} ({held(task)})"

    def small(self, task: Task) -> bool:
        return task.access != "operator" and task.n <= (_SMALL_ARRAY if task.access == "dense" else _SMALL)

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        return (self.setting("lapack", task),) if self.small(task) else ()

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        return min(0.5, direct_error(task))

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence)

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        w, V = map(lib.to_numpy, outcome.value)
        found = certificate.certify(
            A, (w, V), task, evidence, target, self.lapack_target(task, evidence), order=reuse.get(superlu.ORDER),
            seed=seed, confidence=confidence,
        )  # fmt: skip
        if task.structure == "spd" and found.satisfied:
            _check_sign(float(w.min()), float(np.abs(w).max()), found.bound)
        return found

    def learned(self, task: Task, evidence: Evidence, outcome: Outcome) -> Evidence:
        if FOUND not in outcome.by_products or evidence.repeated:
            return evidence
        return replace(evidence, repeated=True)

    def remarks(self, task: Task, evidence: Evidence, chosen: Candidate) -> list[str]:
        if task.n <= _SMALL or chosen.algorithm in ("lapack", "arpack_shift_invert"):
            return []
        if chosen.algorithm == "filtered_subspace":
            return ["a filter saves iterations, orthogonalization and memory for a basis, not products"]
        ways = {krylov.ALGORITHM.label(options): options for options in krylov.options(task, evidence)}
        options, taken = ways.get(chosen.label, krylov.Options(basis="medium")), chosen.label in ways
        if krylov.applies(task, evidence, options) is not None:
            return []
        plain = arpack.counts(task, evidence, arpack.Options()).median
        steps, products = krylov.steps_and_products(task, evidence, options)
        name = "Chebyshev's" if options.filter == "chebyshev" else "the best of three"
        verb = "orthogonalizes" if taken else "would orthogonalize"
        told = f"a filter ({name}) {verb} {steps:.0f} vectors, not {plain:.0f}, with {products:.0f} products"
        notes = [f"{told}: {'' if evidence.ritz else 'not '}probed"]
        if taken:
            return [*notes, "a filter saves orthogonalization and memory for a basis, which outweigh its products here"]
        return [*notes, "on one processor little is gained by a filter: its products outweigh what it saves"]

    def diagnosis(self, A: Any, task: Task) -> str:
        if task.access == "operator":
            return ""
        difference, size = certificate.asymmetry(host(A) if task.access == "dense" else A, task)
        return "" if certificate.symmetric_enough(difference, size, task) else _not_symmetric(difference, size)

    def named(self, *parts: Any) -> Eigensystem:
        return Eigensystem(*parts)

    def shapes(self, task: Task, b: Any, value: Any) -> list[tuple[int, ...]]:
        return [(wanted(task),), (task.n, wanted(task))]

    def sizes(self, value: Any) -> Any:
        return value[0]

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        w, V = value
        return times_power_of_two(w, exponent_A), V
