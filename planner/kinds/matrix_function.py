"""Functions of a symmetric matrix, whole or applied to vectors, whatever A is: an array, sparse, or an operator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.eigenpairs._common import host
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.matrix_function import polynomial
from ...primitives.matrix_function._common import (
    Products,
    columns,
    columns_of,
    condition,
    defined_on,
    krylov_steps,
    needs_definite,
    power,
    probe_steps,
    products,
    sensitivity,
    vectors,
)
from ...primitives.matrix_function.eigendecomposition import EIGENPAIRS
from ...primitives.matrix_function.lanczos import KRYLOV, REDUCTIONS
from ...primitives.norms import UNSCALED, norm
from ...primitives.sparse_linear_system._common import reading
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import sparse_structure
from ...profiles.errors import InvalidProblem, NoAlgorithm
from ..certificate import Certificate
from ..certify import eigenpairs as symmetry
from ..certify import matrix_function as certificate
from ..plans import Candidate
from ..problems import MatrixFunction, Problem
from ._base import ProbeStep, times_power_of_two
from ._matrix_free import MatrixFreeKind, direct_error, even, held, looked, stored, told

_SMALL = 150  # order up to which LAPACK takes about as long as planning
_WHOLE = 1000  # order up to which all of f(A), or more columns than one in _MANY, take LAPACK as long as anything
_MANY = 40
_FEW_ENTRIES = 100  # order up to which an operator's products with the identity do
_WORTH_A_DIAGNOSIS = 1000
_MARGINS = {6: 2.0, 2: 12.0}  # of bounds by so many test vectors, for algorithms that aim at half the target
_NEGATIVE = {"float64": 1e-12, "float32": 1e-5}  # of the largest Ritz value: what counts as no sign
# What the probe of the spectrum may find: (chance, condition number)
_SPECTRA = (0.4, 30.0), (0.35, 1e3), (0.25, 1e5)
_INSENSITIVE = ("exp", "callable", "sign")  # functions whose value does not scale with A, or not by a factor


def name_of(f: Any) -> str:
    """f as `Task.function` has it."""
    if isinstance(f, tuple):
        return "inv" if f[1] == 1 else "inv_sqrt" if f[1] == 2 else f"inv_root {f[1]}"
    return f if isinstance(f, str) else "callable"


def shown(name: str) -> str:
    """For a person: what is computed."""
    return {
        "inv": "A^-1", "sqrt": "A^(1/2)", "inv_sqrt": "A^(-1/2)", "sign": "sign(A)", "exp": "exp(A)", "log": "log(A)",
        "callable": "f(A)",
    }.get(name) or f"A^(-1/{name.split()[1]})"  # fmt: skip


def _structure(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    """Raises NoAlgorithm where A is not symmetric, InvalidProblem where its diagonal shows that it has no such f."""
    if task.access == "operator":
        declared, evidence, mismatch = sparse_structure.run(A, replace(task, structure="symmetric"), evidence)
        if mismatch:
            raise _not_symmetric("u'(A v) is not v'(A u) for random u and v")
        return replace(task, structure=declared.structure), evidence, {}
    explicit = host(A) if task.access == "dense" else A
    difference, size = symmetry.asymmetry(explicit, task)
    if not symmetry.symmetric_enough(difference, size, task):
        raise _not_symmetric(f"||A - A'|| is {difference / size:.1e} of ||A||")
    least = float(explicit.diagonal().min())
    if needs_definite(task.function) and (least < 0.0 or (least == 0.0 and task.function != "sqrt")):
        raise _undefined(task.function, f"an entry of its diagonal is {least:.3g}")
    return task, told(evidence, "structure", "A is symmetric"), {}


def _not_symmetric(why: str) -> NoAlgorithm:
    return NoAlgorithm(
        f"no algorithm registered yet for functions of a matrix that is not symmetric ({why}); if it should be, pass"
        " (A + A.T) / 2; else scipy.linalg has sqrtm, logm, expm and funm for dense arrays",
        kind="matrix_function",
    )


def _undefined(name: str, why: str) -> InvalidProblem:
    what = "positive semidefinite" if name == "sqrt" else "positive definite"
    return InvalidProblem(
        f"{shown(name)} is real only where A is {what}, and it is not: {why}; add a multiple of the identity, or take"
        " the function of its magnitude by a callable f",
        argument="A",
        found="indefinite",
    )


def _spectrum(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    start = np.random.default_rng(np.random.Philox(key=task.seed)).standard_normal(task.n)
    found = looked(Products(A, task), start, probe_steps(task))
    low, high = float(found.values[0]), float(found.values[-1])
    dtype = str(A.dtype) if task.access == "operator" else task.dtype
    if needs_definite(task.function) and low < -_NEGATIVE.get(dtype, 1e-12) * max(abs(low), abs(high)):
        raise _undefined(task.function, f"a Rayleigh quotient of it is {low:.3g} beside one of {high:.3g}")
    evidence = replace(evidence, ritz=found.triples)
    sentence = f"its Ritz values go from {low:.4g} to {high:.4g} in {found.steps} Lanczos steps"
    if low > 0.0 and task.function != "exp":
        known = condition(evidence)
        sentence += f": condition number about {known.median:.2g} (at least {known.low:.2g})"
    return task, told(evidence, "spectrum", sentence), {}


def _spectra(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    return [(chance, replace(evidence, ritz=even(known))) for chance, known in _SPECTRA]


def _left(task: Task, algorithm: Algorithm, options: Any) -> str:
    """The by-product of an algorithm for the certificate."""
    if algorithm.name == "eigendecomposition":
        return EIGENPAIRS
    kept = task.nrhs == 1 and algorithm.name == "lanczos" and options is not None and options.basis == "kept"
    return KRYLOV if kept else ""


class MatrixFunctionKind(MatrixFreeKind):
    """f(A), or f(A) B."""

    name = "matrix_function"
    defaults = frozenset({"eigendecomposition", "cholesky", "lanczos"})

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "structure",
                lambda t, e: True,
                lambda t, e, backend: Work(
                    (*products(t, e, 1, 2.0), reading(16.0 * t.n * t.n if t.access == "dense" else 48.0 * t.nnz)),
                    8.0 * t.n * t.n if t.access == "dense" else 36.0 * t.nnz,
                ),
                _structure,
                always=True,
            ),
            ProbeStep(
                "spectrum",
                lambda t, e: not e.ritz and t.n > 1 and t.function not in ("sign", "callable"),
                lambda t, e, backend: Work(
                    (*products(t, e, 1, float(probe_steps(t))), vectors(t.n, 12.0 * probe_steps(t))),
                    64.0 * t.n,
                    reductions=REDUCTIONS * probe_steps(t),
                ),
                _spectrum,
                _spectra,
                thin_calls=1000.0,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, MatrixFunction)
        if problem.f == "polar":
            raise NoAlgorithm(
                "no algorithm registered yet for matrix function problems with f = 'polar'; scipy.linalg.polar computes"
                " it",
                kind=problem.kind,
            )
        if problem.device != "cpu":
            raise NoAlgorithm(
                "no algorithm registered yet for matrix function problems on a GPU; pass a copy on the CPU",
                kind=problem.kind,
            )
        A, b, dtype = problem.working()
        dense, function = problem.dense, name_of(problem.f)
        if problem.access != "operator" and (function in _INSENSITIVE or function == "log"):
            size = norm(A if dense else A.data)
            if math.isfinite(size) and size and not 1.0 / UNSCALED[dtype] <= size <= UNSCALED[dtype]:
                raise InvalidProblem(
                    f"the norm of A is {size:.1e}: {shown(function)} is computed where it is within"
                    f" {1.0 / UNSCALED[dtype]:.0e} and {UNSCALED[dtype]:.0e} in {dtype}",
                    argument="A",
                )
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=0 if b is None else problem.right_hand_sides, dtype=dtype,
            target=target, seed=seed, structure="symmetric", **stored(problem, A), function=function,
            call=problem.f if function == "callable" else None,  # type: ignore[arg-type]
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        to = "" if not task.nrhs else " applied to a vector" if task.nrhs == 1 else f" applied to {task.nrhs} vectors"
        return f"{shown(task.function)} of {task.n} x {task.n}{to}, {task.dtype} ({held(task)})"

    def small(self, task: Task) -> bool:
        if task.access == "dense" and columns(task) * _MANY >= task.n:
            return task.n <= _WHOLE
        return task.n <= (_FEW_ENTRIES if task.access == "operator" else _SMALL)

    def longest_at_once(self, task: Task) -> float:
        return max(super().longest_at_once(task), 1e-9 * task.n**3)

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        if not self.small(task):
            return ()
        last = self.setting("eigendecomposition", task)
        return (self.setting("cholesky", task), last) if task.function == "inv" and task.access == "dense" else (last,)

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        return min(0.5, direct_error(task) * sensitivity(task, evidence).median)

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence, _left(task, algorithm, options))

    def margin(self, task: Task, evidence: Evidence, algorithm: Algorithm, ready: frozenset[str]) -> float:
        few = certificate.test_vectors(task, _left(task, algorithm, None))
        return 1.0 if columns(task) <= few else _MARGINS[few]

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        pairs = reuse.get(EIGENPAIRS)
        if pairs is not None:
            pairs = tuple(np.asarray(lib.to_numpy(x), dtype=np.float64) for x in pairs)
        return certificate.certify(
            lib.to_numpy(A) if task.access == "dense" else A, None if b is None else columns_of(lib.to_numpy(b)),
            columns_of(np.asarray(lib.to_numpy(outcome.value), dtype=task.dtype)),  # as it is handed out
            task, target, self.lapack_target(task, evidence), seed=seed, confidence=confidence,
            eigenpairs=pairs, krylov=reuse.get(KRYLOV),  # type: ignore[arg-type]
        )  # fmt: skip

    def shapes(self, task: Task, b: Any, value: Any) -> list[tuple[int, ...]]:
        return [(task.n, task.n)] if b is None else super().shapes(task, b, value)

    def remarks(self, task: Task, evidence: Evidence, chosen: Candidate) -> list[str]:
        if task.function in ("sign", "callable"):
            return []
        if not evidence.ritz:
            return ["no polynomial was considered: looking at the spectrum would take longer than it could save"]
        aim = replace(task, target=task.target / chosen.margin)
        why = polynomial.applies(aim, evidence, polynomial.Options())
        if why is not None:
            return [f"no polynomial: {why}"]
        low, high = polynomial.interval(task.function, evidence.ritz)
        degree = polynomial.degree(aim, evidence)
        what = f"a polynomial of degree {degree} on [{low:.3g}, {high:.3g}]"
        if chosen.algorithm == "polynomial":
            return [f"{what}: that many products with all columns at once, and no basis"]
        if not task.nrhs or chosen.algorithm in ("eigendecomposition", "cholesky"):
            return [f"{what} would do, with as many products for each column"]
        steps = krylov_steps(task, evidence, task.target).median
        return [f"{what} would do; Lanczos takes about {steps:.0f} products, and a basis unless it is made twice"]

    def diagnosis(self, A: Any, task: Task) -> str:
        if task.access == "operator" or task.n > _WORTH_A_DIAGNOSIS:
            return ""
        explicit: Any = host(A) if task.access == "dense" else A
        difference, size = symmetry.asymmetry(explicit, task)
        if not symmetry.symmetric_enough(difference, size, task):
            return f"A is not symmetric: ||A - A'|| is {difference / size:.1e} of ||A||"
        values = np.linalg.eigvalsh(explicit if task.access == "dense" else explicit.toarray())
        return defined_on(task.function, values, task.unit_roundoff)

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        whole, part = divmod(exponent_A * (power(task.function) or 0.0), 1.0)
        return times_power_of_two(value * 2.0**part, int(whole) + exponent_b)


__all__ = ["MatrixFunctionKind", "name_of", "shown"]
