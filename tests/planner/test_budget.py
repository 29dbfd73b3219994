"""Budgets: units, defaults and contradictions."""

from __future__ import annotations

import math

import pytest

from autonla.planner.budget import Budget
from autonla.profiles.errors import AutonlaError, InvalidBudget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2 s", 2.0),
        ("500 ms", 0.5),
        ("250us", 250e-6),
        ("3 µs", 3e-6),
        ("1.5 min", 90.0),
        ("1 h", 3600.0),
        ("1e-1 s", 0.1),
    ],
)
def test_latency_units(text, seconds):
    assert Budget(latency=text).latency == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("1 GiB", 2**30), ("200 MB", 200e6), ("64 KiB", 65536), ("10 B", 10), ("2GB", 2e9)]
)
def test_memory_units(text, size):
    assert Budget(memory=text).memory == size


@pytest.mark.parametrize(("text", "joules"), [("50 J", 50.0), ("20 mJ", 0.02), ("1 Wh", 3600.0)])
def test_energy_units(text, joules):
    assert Budget(energy=text).energy == pytest.approx(joules)


def test_numbers_are_base_units():
    budget = Budget(accuracy=1e-8, latency=2, memory=1e6, energy=5)
    assert (budget.accuracy, budget.latency, budget.memory, budget.energy) == (1e-8, 2.0, 1e6, 5.0)


def test_every_field_is_optional():
    budget = Budget()
    assert budget.accuracy is budget.latency is budget.memory is budget.energy is None
    assert not budget.limited
    assert repr(budget) == "Budget()"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"latency": "2 GiB"}, "latency"),
        ({"memory": "2 s"}, "memory"),
        ({"energy": "3 MB"}, "energy"),
        ({"latency": "soon"}, "latency"),
        ({"latency": 0}, "positive"),
        ({"latency": -1.0}, "positive"),
        ({"latency": math.inf}, "finite"),
        ({"memory": math.nan}, "finite"),
        ({"memory": "1.2.3 GB"}, "number"),
        ({"accuracy": 0.0}, "accuracy"),
        ({"accuracy": 1.5}, "accuracy"),
        ({"accuracy": math.nan}, "accuracy"),
        ({"accuracy": True}, "accuracy"),
        ({"accuracy": "high"}, "accuracy"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": 0.4}, "confidence"),
        ({"minimize": "fun"}, "minimize"),
        ({"on_infeasible": "ignore"}, "on_infeasible"),
        ({"minimize": "error", "accuracy": 1e-3}, "minimize"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments, word):
    with pytest.raises(InvalidBudget, match=word) as caught:
        Budget(**arguments)
    assert isinstance(caught.value, AutonlaError)
    assert isinstance(caught.value, ValueError)


def test_most_accurate_within_a_latency_is_no_contradiction():
    assert Budget(minimize="error", latency="1 s", accuracy=1e-2).minimize == "error"


def test_round_trip_and_immutability():
    budget = Budget(accuracy=1e-6, latency="1 s", memory="1 MiB", minimize="memory", on_infeasible="best_effort")
    assert Budget(**budget.to_dict()) == budget
    assert eval(repr(budget), {"Budget": Budget}) == budget
    with pytest.raises(AttributeError):
        budget.accuracy = 1.0  # type: ignore[misc]
