"""Whether the planner chooses the same when only its random streams, or the profile of the same machine, differ.

Nothing is solved: every instance is planned with several seeds on several profiles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...profiles.errors import AutonlaError, InfeasibleBudget
from ..planning import Machine, machine_of, make_plan
from ..plans import Plan
from .instance import Instance
from .metrics import percentile

REFUSED = "refused"
SAME_COST = 1.03  # choices whose forecast costs differ by less are as good as one another


@dataclass(frozen=True, slots=True)
class Stability:
    """The choices for one instance.

    Attributes
    ----------
    name, family : str
    labels, algorithms : dict of str to int
        How often each candidate, each algorithm was chosen; "refused" where nothing fitted.
    ratio : float
        The most that another plan's choice is forecast to cost over a plan's own, in the own plan; infinite where it
        does not fit there. 1 where all agree.
    """

    name: str
    family: str
    labels: Mapping[str, int]
    algorithms: Mapping[str, int]
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (infinity becomes None)."""
        return _finite(asdict(self))


@dataclass(frozen=True, slots=True)
class StabilitySummary:
    """Over instances.

    Attributes
    ----------
    count : int
    same_label, same_algorithm : float
        Shares of instances with a single choice.
    same_or_close : float
        Share with a single choice, or choices whose forecast costs differ by at most 3 %.
    ratio_p95, ratio_max : float
    """

    count: int
    same_label: float
    same_algorithm: float
    same_or_close: float
    ratio_p95: float
    ratio_max: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (infinity becomes None)."""
        return _finite(asdict(self))


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in data.items()}


def stability(instance: Instance, seeds: int, machines: Sequence[Machine]) -> Stability:
    """Plan an instance with the seeds 0, 1, ... on each machine.

    Parameters
    ----------
    seeds : int
    machines : sequence of Machine
        Profiles, as `machines_of` finds them.
    """
    problem = instance.problem()
    plans: list[Plan | None] = []
    for machine in machines:
        for seed in range(seeds):
            try:
                plan = make_plan(
                    problem, instance.budget, rng=seed, profile=machine.profile, rigor="probe",
                    described=machine.description,
                )  # fmt: skip
            except InfeasibleBudget:
                plan = None
            plans.append(plan)
    return compare(instance.name, instance.family, plans)


def compare(name: str, family: str, plans: Sequence[Plan | None]) -> Stability:
    """The choices of several plans for one problem; None is a refusal."""
    labels = Counter(REFUSED if plan is None else plan.chosen.label for plan in plans)
    algorithms = Counter(REFUSED if plan is None else plan.chosen.algorithm for plan in plans)
    made = [plan for plan in plans if plan is not None]
    chosen = {plan.chosen.label: plan.chosen.algorithm for plan in made}
    ratio = max((_ratio(plan, *other) for plan in made for other in chosen.items()), default=1.0)
    return Stability(name, family, dict(labels), dict(algorithms), max(1.0, ratio))


def _ratio(plan: Plan, label: str, algorithm: str) -> float:
    """Forecast cost in this plan of a candidate (where it has no such label: the cheapest of its algorithm) to its own.

    Expected costs; where nothing fits and the nearest was chosen, forecast seconds.
    """
    if label == plan.chosen.label:
        return 1.0
    expected = plan.chosen.feasible
    costs = [
        (c, c.cost if expected else c.forecast.seconds.median)
        for c in plan.candidates
        if c.forecast is not None and (c.feasible or not expected)
    ]
    own = next(cost for c, cost in costs if c.label == plan.chosen.label)
    exact = [cost for c, cost in costs if c.label == label]
    return min(exact or [cost for c, cost in costs if c.algorithm == algorithm], default=math.inf) / own


def summarize_stability(found: Sequence[Stability]) -> StabilitySummary:
    """Shares and ratios; nan over none."""
    count = len(found)

    def share(flags: Sequence[bool]) -> float:
        return sum(flags) / count if count else math.nan

    ratios = [s.ratio for s in found]
    return StabilitySummary(
        count,
        share([len(s.labels) == 1 for s in found]),
        share([len(s.algorithms) == 1 for s in found]),
        share([len(s.labels) == 1 or (REFUSED not in s.labels and s.ratio <= SAME_COST) for s in found]),
        percentile(ratios, 0.95),
        max(ratios, default=math.nan),
    )


def machines_of(profiles: Sequence[Path]) -> list[Machine]:
    """The profiles of some files, or of all .json files of a folder; the one in use where none is named.

    Raises
    ------
    AutonlaError
        If a folder holds no profile; ProfileError if a file is none, or is of another machine.
    """
    files: list[Path] = []
    for path in profiles:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(path.glob("*.json"))
        if not inside:
            raise AutonlaError(f"--profile {path}: no .json file in this folder; name a profile that was saved there")
        files += inside
    return [machine_of(file) for file in files] or [machine_of(None)]
