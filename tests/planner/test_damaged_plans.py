"""Plan files that changed on the way: read as they were written, or refused in one line of one type."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import autonla as nla
from autonla.planner import plan_document
from autonla.planner.plan_document import sealed
from autonla.planner.plans import Plan
from autonla.profiles import Correction, EnergyModel, HardwareProfile, Term, store
from autonla.profiles.errors import AutonlaError, PlanError
from autonla.profiles.schema import LONGEST, SHORTEST
from tests._support.damage import leaves, tampered
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
BUDGET = nla.Budget(accuracy=1e-8, latency="10 s", memory="1 GiB")


def least_squares(seed: int = 1) -> nla.LeastSquares:
    rng = np.random.default_rng(seed)
    return nla.LeastSquares(rng.standard_normal((120, 6)), rng.standard_normal(120), ridge=0.1)


def linear_system(seed: int = 1) -> nla.LinearSystem:
    rng = np.random.default_rng(seed)
    return nla.LinearSystem(rng.standard_normal((60, 60)), rng.standard_normal(60))


def low_rank(seed: int = 1) -> nla.LowRank:
    rng = np.random.default_rng(seed)
    return nla.LowRank(rng.standard_normal((60, 8)) @ rng.standard_normal((8, 50)), rank=8)


MAKERS = {"least squares": least_squares, "linear system": linear_system, "low rank": low_rank}


def made(kind: str) -> Plan:
    return nla.plan(MAKERS[kind](), BUDGET, rng=3, profile=PROFILE)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return made("least squares")


@pytest.fixture(scope="module")
def text(plan: Plan) -> str:
    return plan.to_json()


def refusal(text: Any) -> str | None:
    """What is said of a text that is no plan, one line; None for one that is read."""
    try:
        Plan.from_json(text)
    except PlanError as error:
        said = str(error)
        assert "\n" not in said
        assert 10 < len(said) < 600
        return said
    return None


def flipped(text: str, count: int, seed: int) -> Iterator[str]:
    """Texts with one to eight bits of it flipped; bits that leave ASCII are among them."""
    rng, data = random.Random(seed), text.encode("ascii")
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
        yield mutant.decode("latin-1")


def test_flipped_bits_are_seen(plan, text):
    read = [again for again in flipped(text, 1500, seed=0) if refusal(again) is None]
    assert len(read) < 30, "white space alone may change unnoticed"
    assert all(Plan.from_json(again) == plan for again in read)


def test_without_the_checksum_some_would_be_read_as_another_plan(plan, text, monkeypatch):
    stated = json.loads(text)["checksum"]
    monkeypatch.setattr(plan_document, "_checksum", lambda document: stated)
    others = [again for again in flipped(text, 1500, seed=0) if refusal(again) is None]
    assert sum(Plan.from_json(again) != plan for again in others) > 30


def test_cut_anywhere(text):
    for end in [*range(0, len(text) - 1, 7), len(text) - 1]:
        assert refusal(text[:end]) is not None


def test_a_plan_that_asks_for_less_than_was_asked_is_no_plan(text):
    assert '"accuracy": 1e-08' in text
    said = refusal(text.replace('"accuracy": 1e-08', '"accuracy": 1e-02'))
    assert said is not None
    assert "changed after it was written" in said


def test_the_layout_is_free(plan, text):
    document = json.loads(text)
    for again in (
        json.dumps(document),
        json.dumps(document, indent="\t", sort_keys=True),
        "\r\n" + text.replace("\n", "\r\n ") + "\n",
        json.dumps(dict(reversed(document.items()))),
    ):
        assert Plan.from_json(again) == plan


def test_of_two_fields_with_one_name_the_checksum_and_the_plan_take_the_same(plan, text):
    """Two parsers read the text: where they differ, one would vouch for what the other does not see."""
    assert text.startswith("{\n")
    doubled = "{" + '"target": 0.5,' + text[1:]
    assert Plan.from_json(doubled) == plan
    last = text.rstrip().removesuffix("}") + ',"target": 0.5}'
    assert refusal(last) is not None


@pytest.mark.parametrize("version", [2, 7, 0, -1, 10**50, True, "1", 1.5, None])
def test_of_another_version(text, version):
    document = json.loads(text)
    document["schema_version"] = version
    del document["checksum"]
    for again in (json.dumps({"checksum": "of another time", **document}), sealed(document)):
        said = refusal(again)
        assert said is not None
        if isinstance(version, int) and not isinstance(version, bool):
            assert "make the plan again" in said
            assert f"schema version {version}"[:30] in said


@pytest.mark.parametrize("found", [None, 5, b"{}", ["{"], {"schema_version": 1}], ids=repr)
def test_what_is_no_text(found):
    said = refusal(found)
    assert said is not None
    assert type(found).__name__ in said


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "0" * 9000])
def test_numbers_that_no_plan_has(text, constant):
    for field in ('"ridge": 0.1', '"confidence": 0.99', '"correction": 1.0'):
        assert field in text
        name = field.partition(":")[0]
        assert refusal(text.replace(field, f"{name}: {constant}")) is not None


# Texts with a right checksum that another program may have written.

NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 3, 10**400, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf, "", "inf", "nan", "-inf",
    "x\ny", "\ud800", "a" * 10_000, [], [1], [None], [[]], {}, {"a": 1}, 2**63, 2**64, -(2**63), 1.5, "1", "float16",
    "torch", "upper", "banded",
)  # fmt: skip


@pytest.mark.parametrize("kind", MAKERS)
def test_whatever_stands_where_a_value_should_is_refused_or_harmless(kind):
    """What is read can be explained, written again and run: the answer is certified, or refused by type."""
    plan = made(kind)
    document = json.loads(plan.to_json())
    del document["checksum"]
    trials = [(path, value) for path in leaves(document, 3) for value in NASTY]
    random.Random(1).shuffle(trials)
    read = 0
    for path, value in trials[:1000]:
        changed = tampered(document, path, value)
        mutant = json.dumps({"checksum": plan_document._checksum(changed), **changed})
        if refusal(mutant) is not None:
            continue
        read += 1
        again = Plan.from_json(mutant)
        assert Plan.from_json(again.to_json()) == again, (path, value)
        try:
            again.explain()
            solution = again.run(MAKERS[kind]())
        except AutonlaError:
            continue
        asked = again.budget.accuracy
        assert solution.status == "best_effort" or asked is None or solution.certificate.bound <= asked
    assert 100 < read < 1000


@pytest.mark.parametrize(("field", "value"), [("library", "cupy"), ("library", "torch"), ("device", "cuda:7")])
def test_made_on_another_machine(text, field, value):
    """With a library, or a device, that the problem is not of."""
    document = json.loads(text)
    del document["checksum"]
    again = Plan.from_json(sealed(tampered(document, ("task", field), value)))
    with pytest.raises(PlanError, match="does not fit"):
        again.run(least_squares())


def test_made_with_the_profile_of_another_machine_it_runs_here(plan, text):
    assert "synthetic" in plan.profile
    assert Plan.from_json(text).run(least_squares()).status == "certified"


# A profile that is well formed, and lies.


def lying(rng: random.Random) -> HardwareProfile:
    """A profile whose numbers are the most extreme that its schema allows, or 0."""
    tables = []
    for table in PROFILE.kernels:
        if table.backend in ("scipy", "numba", "numpy"):
            times = rng.choice([(SHORTEST,), (LONGEST,), (SHORTEST, LONGEST), (1e-6, 1e-3)])
            points = tuple(
                point.model_copy(update={"seconds": rng.choice(times), "spread": rng.choice([0.0, 0.1, 1e9])})
                for point in table.points
            )
            tables.append(table.model_copy(update={"points": points}))
    energy = EnergyModel(
        source="measured",
        idle_watts=rng.choice([0.0, 1e9]),
        joules_per_flop={"float64": rng.choice([0.0, 1e3])},
        joules_per_byte=rng.choice([0.0, 1e3]),
        relative_uncertainty=rng.choice([0.0, 1e9]),
    )
    term = Term(feature="log_m", slope=rng.choice([-1e300, 0.0, 1e300]), centre=1e300, low=-1e308, high=1e308)
    correction = Correction(
        log_bias=rng.choice([-100.0, 100.0]),
        log_sigma=rng.choice([0.0, 100.0]),
        count=rng.choice([0, 1, 2**62]),
        terms=(term,) if rng.random() < 0.3 else (),
    )
    document = dict(PROFILE) | {
        "kernels": tuple(tables),
        "energy": energy,
        "corrections": {"svd": correction, "lu[scipy float64]": correction, "normal_equations": correction},
        "python_overhead_seconds": rng.choice([0.0, SHORTEST, LONGEST]),
        "pool_switch_seconds": {"scipy>numba": rng.choice([0.0, LONGEST]), "numpy>scipy": LONGEST},
        "tuning": {"switch_margin": rng.choice([0.0, 1e9])},
        "scale": rng.choice([1e-6, 1.0, 1e6]),
    }
    return store.loads(store.dumps(HardwareProfile(**document)))


@pytest.mark.parametrize("rigor", ["estimate", "probe"])
@pytest.mark.parametrize("kind", MAKERS)
def test_plans_made_with_a_profile_that_lies_are_plans_or_refused_by_type(kind, rigor):
    rng, planned = random.Random(2), 0
    for trial in range(40):
        budget = nla.Budget(
            accuracy=rng.choice([None, 1e-8]), latency=rng.choice([None, 1.0]), energy=rng.choice([None, 1.0]),
            on_infeasible=rng.choice(["raise", "best_effort"]),
        )  # fmt: skip
        try:
            plan = nla.plan(MAKERS[kind](), budget, rng=trial, profile=lying(rng), rigor=rigor)
        except AutonlaError:
            continue
        planned += 1
        assert Plan.from_json(plan.to_json()) == plan
        plan.explain()
    assert planned >= 12
