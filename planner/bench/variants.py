"""Ablations: what each part of the planner is worth, by leaving it out.

Each variant calls `solve` as a user would, one run after one that warms up, in turn with the others and with the full
planner. The virtual best is that of the row: it is not raced again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...cost_models.spot_check import spot_check
from ...profiles import HardwareProfile, generic, save
from ...profiles.errors import BudgetExceeded, CertificationFailed, InfeasibleBudget
from .. import solve
from ..planning import machine_of
from ..solution import Solution
from . import measuring, metrics
from .instance import Instance
from .measuring import Row, Variant

FULL, NO_CERTIFICATE = "full planner", "no certificate"
NAMES = (FULL, "no probes", "generic profile", "no correction", NO_CERTIFICATE, "race of the closest")


@contextmanager
def priced_on(profile: HardwareProfile) -> Iterator[None]:
    """Have `solve` plan on a profile as if the user had chosen it, the fast path for small problems included."""
    before = os.environ.get("AUTONLA_PROFILE")
    with TemporaryDirectory() as folder:
        os.environ["AUTONLA_PROFILE"] = str(save(profile, Path(folder) / "profile.json"))
        try:
            yield
        finally:
            if before is None:
                del os.environ["AUTONLA_PROFILE"]
            else:
                os.environ["AUTONLA_PROFILE"] = before


@lru_cache(maxsize=1)
def _generic() -> HardwareProfile:
    """The profile of another machine, scaled as it is where this machine was never measured."""
    return generic().with_scale(spot_check(generic()).factor)


def _uncorrected() -> HardwareProfile:
    """The profile in use, its learned corrections forgotten."""
    return machine_of(None).profile.model_copy(update={"corrections": {}})


def run_variants(instance: Instance) -> dict[str, Variant]:
    """Solve an instance with each part of the planner left out; keys are `NAMES`."""
    problem = instance.problem()
    call: Callable[..., Solution] = partial(solve, problem, instance.budget, rng=0)
    ways: dict[str, tuple[HardwareProfile | None, Callable[[], Solution]]] = {
        FULL: (None, call),
        "no probes": (None, partial(call, rigor="estimate")),
        "generic profile": (_generic(), call),
        "no correction": (_uncorrected(), call),
        "race of the closest": (None, partial(call, rigor="race")),
    }
    found: dict[str, Variant] = {}
    for name, (profile, way) in ways.items():
        with nullcontext() if profile is None else priced_on(profile):
            seconds, solution = _run(way)
            found[name] = _variant(seconds, solution)  # the plan of a small problem is priced when it is asked for
        if name == FULL:
            found[NO_CERTIFICATE] = _without_certificate(seconds, solution)
    return {name: found[name] for name in NAMES}


def _run(way: Callable[[], Solution]) -> tuple[float, Solution | None]:
    """Seconds of a warm run and its solution; None where it was refused."""
    try:
        way()
        return measuring.timed(way, measuring.is_short(way))
    except (InfeasibleBudget, CertificationFailed, BudgetExceeded):
        return 0.0, None


def _variant(seconds: float, solution: Solution | None) -> Variant:
    if solution is None:
        return Variant("", "refused", None)
    return Variant(solution.plan.chosen.label, solution.status, seconds)


def _without_certificate(seconds: float, solution: Solution | None) -> Variant:
    """The full run as it would be if the first answer went out unseen.

    Where the first answer is the one that was certified, that saves its certificate. Where it was not, the answer is
    wrong, and it saves what came after it (its certificate is in the same clock and stays in). An algorithm that broke
    down is seen without a certificate: what follows it is the first answer.
    """
    if solution is None:
        return Variant("", "refused", None)
    attempts = solution.record.attempts
    first = next((i for i, attempt in enumerate(attempts) if attempt.bound is not None), len(attempts))
    later = attempts[first + 1 :]
    saved = sum(a.seconds for a in later) if later else solution.record.seconds["certify"]
    status = "wrong" if later or solution.status != "certified" else "certified"
    return Variant(solution.plan.chosen.label, status, max(0.0, seconds - saved))


@dataclass(frozen=True, slots=True)
class Ablation:
    """What a variant adds up to.

    Attributes
    ----------
    name : str
    count, refused, wrong, best_effort : int
        Instances; those it gave up on, answered without a certificate that would hold, or short of the target.
    changed : float
        Share of instances where it chose another candidate than the full planner.
    regrets : tuple of float
        Over the virtual best of the row, of those that have one and were not refused.
    harmed : float
        Share more than 10 % slower than the safe default; one that refuses counts.
    """

    name: str
    count: int
    refused: int
    wrong: int
    best_effort: int
    changed: float
    regrets: tuple[float, ...]
    harmed: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: mean (geometric), 95th percentile and maximum of the regrets in their place."""
        harmed = None if math.isnan(self.harmed) else self.harmed
        return {**asdict(self), "harmed": harmed, "regrets": metrics.spread(self.regrets) if self.regrets else None}


def ablations(rows: Sequence[Row]) -> list[Ablation]:
    """One per variant, over the rows that have variants; empty where none has."""
    rows = [row for row in rows if row.variants]
    return [_ablation(name, rows) for name in NAMES if rows and all(name in row.variants for row in rows)]


def _ablation(name: str, rows: Sequence[Row]) -> Ablation:
    own = [(row, row.variants[name]) for row in rows]
    timed = [(row, v.seconds) for row, v in own if v.seconds is not None]
    statuses = [v.status for _, v in own]
    beside = [(row, v) for row, v in own if metrics.beside_default(row)]
    slow = [v.seconds is None or v.seconds > metrics.HARM * row.default_seconds for row, v in beside]
    return Ablation(
        name,
        len(own),
        statuses.count("refused"),
        statuses.count("wrong"),
        statuses.count("best_effort"),
        sum(v.chosen != row.variants[FULL].chosen for row, v in own) / len(own),
        tuple(seconds / row.best for row, seconds in timed if row.best is not None),
        sum(slow) / len(slow) if slow else math.nan,
    )
