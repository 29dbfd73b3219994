"""Certificates of given answers, computed as `solve` does, and answers of which the error is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from autonla.planner.certificate import Certificate
from autonla.planner.kinds import kind_of
from autonla.planner.prepare import prepare
from autonla.planner.problems import Problem
from autonla.primitives.algorithm import Outcome
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels import library


def certify(
    problem: Problem,
    x: Any,
    *,
    target: float | None = None,
    backend: str = "scipy",
    confidence: float = 0.99,
    seed: int = 1,
    reuse: Mapping[str, Any] | None = None,
    evidence: Evidence | None = None,
) -> Certificate:
    """The certificate of x : (n,) or (n, r) as the answer to a linear system or a least-squares problem."""
    kind = kind_of(problem.kind)
    prepared = prepare(problem, kind.task(problem, target or 0.0, seed))
    lib = library(backend)
    scaled = np.ldexp(np.asarray(x), prepared.exponent_A - prepared.exponent_b)
    return kind.certify(
        lib,
        lib.asarray(prepared.A),
        lib.asarray(prepared.b),
        Outcome(lib.asarray(scaled)),
        prepared.task,
        evidence or prepared.evidence,
        metric=problem.metric or "",
        target=target,
        reuse=reuse or {},
        seed=seed,
        confidence=confidence,
    )


def certify_factors(
    problem: Problem,
    factors: tuple[Any, Any, Any],
    *,
    target: float | None = None,
    backend: str = "scipy",
    confidence: float = 0.99,
    seed: int = 1,
    by_products: Mapping[str, Any] | None = None,
) -> Certificate:
    """The certificate of (U, s, Vh) as the answer to a low-rank problem."""
    kind = kind_of(problem.kind)
    prepared = prepare(problem, kind.task(problem, target or 0.0, seed))
    lib = library(backend)
    U, s, Vh = factors
    value = tuple(map(lib.asarray, (U, np.ldexp(s, -prepared.exponent_A), Vh)))
    return kind.certify(
        lib,
        lib.asarray(prepared.A),
        None,
        Outcome(value, dict(by_products or {})),
        prepared.task,
        prepared.evidence,
        metric=problem.metric or "",
        target=target,
        reuse={"sketch_used": True},
        seed=seed,
        confidence=confidence,
    )
