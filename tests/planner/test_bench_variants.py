"""Ablations and stability: arithmetic on made-up runs and plans, and one small problem for real."""

from __future__ import annotations

import json
import math
import os
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from autonla.planner.bench import stability, variants
from autonla.planner.bench.measuring import Variant
from autonla.planner.bench.stability import REFUSED, Stability, compare, machines_of, summarize_stability
from autonla.planner.bench.variants import FULL, NAMES, NO_CERTIFICATE, ablations, priced_on, run_variants
from autonla.planner.cli import app
from autonla.planner.planning import machine_of
from autonla.planner.solution import Attempt
from autonla.profiles import Correction, find, generic, save
from autonla.profiles.errors import AutonlaError, CertificationFailed
from tests._support.bench_rows import row, tiny


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)


def solution(label: str = "a", status: str = "certified", certify: float = 0.25, attempts: Any = None) -> Any:
    plan = SimpleNamespace(chosen=SimpleNamespace(label=label))
    attempts = attempts or (Attempt(label, 1.0, "certified", 1e-9),)
    return SimpleNamespace(
        plan=plan, status=status, record=SimpleNamespace(seconds={"certify": certify}, attempts=attempts)
    )


# --- ablations


def test_one_small_problem_with_every_part_left_out():
    found = run_variants(tiny(400, 60, memory="1 GiB"))
    assert tuple(found) == NAMES
    assert {v.status for v in found.values()} == {"certified"}
    assert all(v.chosen and v.seconds for v in found.values())
    bare, full = found[NO_CERTIFICATE].seconds, found[FULL].seconds
    assert bare is not None
    assert full is not None
    assert 0.0 < bare < full  # of the same run
    assert found[NO_CERTIFICATE].chosen == found[FULL].chosen


def test_each_variant_leaves_out_what_it_says(monkeypatch):
    corrections = {"svd scipy float64": Correction(log_bias=0.5, log_sigma=0.1, count=9)}
    mine = generic().model_copy(update={"name": "mine", "corrections": corrections})
    seen: list[tuple[str, str, bool]] = []

    def spy(problem: object, budget: object, *, rng: int, rigor: str = "probe") -> Any:
        assert rng == 0
        profile = machine_of(None).profile
        seen.append((rigor, profile.name, bool(profile.corrections)))
        return solution()

    monkeypatch.setattr(variants, "solve", spy)
    with priced_on(mine):
        found = run_variants(tiny(6, 3))
    other = generic().name
    assert [way for way, _ in groupby(seen)] == [
        ("probe", "mine", True),
        ("estimate", "mine", True),
        ("probe", other, bool(generic().corrections)),
        ("probe", "mine", False),
        ("race", "mine", True),
    ]
    assert tuple(found) == NAMES


def test_a_profile_is_put_in_place_and_taken_away(monkeypatch, tmp_path):
    theirs = generic().model_copy(update={"name": "theirs"})
    assert find().source == "shipped"
    with priced_on(theirs):
        assert find().profile.name == "theirs"
        assert find().source == "environment"
    assert "AUTONLA_PROFILE" not in os.environ
    path = save(generic().model_copy(update={"name": "chosen"}), tmp_path / "chosen.json")
    monkeypatch.setenv("AUTONLA_PROFILE", str(path))
    with pytest.raises(ZeroDivisionError), priced_on(theirs):
        raise ZeroDivisionError
    assert find().profile.name == "chosen"


def test_what_would_have_gone_out_without_a_certificate():
    """Seconds are 10 in all, of which certificates took 0.25."""
    broken, poor = Attempt("a", 1.0, "broke down", None), Attempt("b", 2.0, "allows only 1e-3", 1e-3)
    good, late = Attempt("c", 3.0, "certified", 1e-9), Attempt("d", 4.0, "certified", 1e-9)

    def without(status: str, *attempts: Attempt) -> tuple[str, float | None]:
        found = variants._without_certificate(10.0, solution(status=status, attempts=attempts))
        return found.status, found.seconds

    assert without("certified", good) == ("certified", 9.75)
    assert without("certified", broken, good) == ("certified", 9.75)  # a breakdown shows by itself
    assert without("certified", poor, good) == ("wrong", 7.0)
    assert without("certified", broken, poor, good, late) == ("wrong", 3.0)
    assert without("best_effort", poor) == ("wrong", 9.75)
    assert variants._without_certificate(0.0, None) == Variant("", "refused", None)


def test_a_variant_that_gives_up_is_refused(monkeypatch):
    def spy(*_: object, rigor: str = "probe", **__: object) -> Any:
        if rigor == "estimate":
            raise CertificationFailed("nothing was certified")
        return solution()

    monkeypatch.setattr(variants, "solve", spy)
    found = run_variants(tiny(6, 3))
    assert found["no probes"] == Variant("", "refused", None)
    assert found["race of the closest"].status == "certified"


def test_an_ablation_by_hand():
    def with_variants(default: float, probes: Variant, **fields: Any) -> Any:
        chosen = dict.fromkeys(NAMES, Variant("a", "certified", 1.0)) | {"no probes": probes}
        return row(1.0, default, variants=chosen, **fields)

    rows = [
        with_variants(2.0, Variant("a", "certified", 1.6)),  # twice the virtual best
        with_variants(2.0, Variant("b", "best_effort", 6.4)),  # eight times; harmed
        with_variants(2.0, Variant("", "refused", None)),  # harmed
        with_variants(2.0, Variant("b", "certified", 3.2), memory=9.0),  # the default knows no limit
        with_variants(2.0, Variant("b", "wrong", 1.0), candidates={}),
        row(),  # without variants
    ]
    full, probes = ablations(rows)[:2]
    assert (full.name, full.count, full.changed, full.harmed) == (FULL, 5, 0.0, 0.0)
    assert full.regrets == (1.25,) * 4
    assert (probes.name, probes.count, probes.refused, probes.wrong, probes.best_effort) == ("no probes", 5, 1, 1, 1)
    assert probes.regrets == pytest.approx((2.0, 8.0, 4.0))
    assert probes.harmed == 0.5
    assert probes.changed == 0.8
    assert probes.to_dict()["regrets"] == {
        "mean": pytest.approx(4.0),
        "p95": pytest.approx(8.0),
        "max": pytest.approx(8.0),
    }
    assert ablations([row()]) == []
    only_limited = ablations([with_variants(2.0, Variant("", "refused", None), memory=9.0)])[1]
    assert math.isnan(only_limited.harmed)
    assert json.dumps(only_limited.to_dict(), allow_nan=False)


# --- stability


def plan(*costs: tuple[str, float], feasible: bool = True) -> Any:
    """A plan that takes the first of its (label, cost); a cost of infinity does not fit."""
    candidates = [
        SimpleNamespace(
            label=label, algorithm=label.split("(")[0], feasible=feasible and math.isfinite(cost),
            cost=cost if feasible else math.inf, forecast=SimpleNamespace(seconds=SimpleNamespace(median=cost)),
        )
        for label, cost in costs
    ]  # fmt: skip
    candidates.append(SimpleNamespace(label="unpriced", algorithm="x", feasible=False, cost=math.inf, forecast=None))
    return SimpleNamespace(chosen=candidates[0], candidates=tuple(candidates))


def test_plans_that_agree_are_stable_whatever_they_cost():
    found = compare("name", "family", [plan(("a", 1.0), ("b", 2.0)), plan(("a", 5.0), ("b", 6.0))])
    assert found == Stability("name", "family", {"a": 2}, {"a": 1 + 1}, 1.0)


def test_plans_that_differ_are_as_far_apart_as_either_says():
    found = compare("", "", [plan(("a(k=1)", 1.0), ("b", 1.25)), plan(("b", 1.0), ("a(k=1)", 1.5), ("c", 9.0))])
    assert (found.labels, found.ratio) == ({"a(k=1)": 1, "b": 1}, 1.5)
    # no such label there: the cheapest of its algorithm stands for it
    found = compare("", "", [plan(("a(k=1)", 1.0)), plan(("a(k=2)", 1.0), ("a(k=3)", 2.0))])
    assert found.algorithms == {"a": 2}
    assert found.ratio == 1.0
    assert compare("", "", [plan(("a", 1.0), ("b", math.inf)), plan(("b", 1.0), ("a", 1.0))]).ratio == math.inf
    # where nothing fits, forecast seconds count
    assert compare("", "", [plan(("a", 2.0), ("b", 3.0), feasible=False), plan(("b", 1.0), ("a", 1.0))]).ratio == 1.5


def test_a_refusal_is_a_choice_of_its_own():
    found = compare("", "", [plan(("a", 1.0)), None])
    assert (found.labels, found.algorithms, found.ratio) == ({"a": 1, REFUSED: 1}, {"a": 1, REFUSED: 1}, 1.0)
    assert summarize_stability([found]).same_or_close == 0.0
    assert compare("", "", [None, None]).labels == {REFUSED: 2}


def test_stability_by_hand():
    found = [
        Stability("", "", {"a": 3}, {"a": 3}, 1.0),
        Stability("", "", {"a(k=1)": 2, "a(k=2)": 1}, {"a": 3}, 1.02),
        Stability("", "", {"a": 2, "b": 1}, {"a": 2, "b": 1}, 1.3),
        Stability("", "", {"a": 2, "b": 1}, {"a": 2, "b": 1}, math.inf),
    ]
    summary = summarize_stability(found)
    assert (summary.count, summary.same_label, summary.same_algorithm, summary.same_or_close) == (4, 0.25, 0.5, 0.5)
    assert (summary.ratio_p95, summary.ratio_max) == (math.inf, math.inf)
    assert summary.to_dict()["ratio_max"] is None
    assert summarize_stability(found[:3]).ratio_max == 1.3
    assert math.isnan(summarize_stability([]).same_label)


def test_profiles_come_from_files_and_folders(tmp_path):
    first, second = generic().model_copy(update={"name": "first"}), generic().model_copy(update={"name": "second"})
    save(first, tmp_path / "folder" / "a.json")
    save(second, tmp_path / "folder" / "b.json")
    names = [machine.profile.name for machine in machines_of([tmp_path / "folder", tmp_path / "folder" / "a.json"])]
    assert names == ["first", "second", "first"]
    assert len(machines_of([])) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(AutonlaError, match=r"no \.json file"):
        machines_of([tmp_path / "empty"])
    with pytest.raises(AutonlaError, match="no such file"):
        machines_of([tmp_path / "missing.json"])


def test_the_command_plans_with_every_seed_on_every_profile(monkeypatch, tmp_path):
    seen: list[tuple[int, str]] = []
    plans = stability.make_plan

    def spy(*arguments: Any, rng: int, profile: Any, **named: Any) -> Any:
        seen.append((rng, profile.name))
        return plans(*arguments, rng=rng, profile=profile, **named)

    monkeypatch.setattr(stability, "make_plan", spy)
    monkeypatch.setattr("autonla.planner.bench.report.suite", lambda: [tiny(), tiny(accuracy=1e-30)])
    for name in ("first", "second"):
        save(generic().model_copy(update={"name": name}), tmp_path / f"{name}.json")
    arguments = ["--profile", tmp_path / "first.json", "--profile", tmp_path / "second.json"]
    output = tmp_path / "out" / "stability.json"
    result = CliRunner().invoke(app, ["bench", "--stability", "2", *map(str, arguments), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert seen == 2 * [(0, "first"), (1, "first"), (0, "second"), (1, "second")]
    assert "same label" in result.output
    document = json.loads(output.read_text())
    first, second = document["instances"]
    assert sum(first["labels"].values()) == 4
    assert second["labels"] == {REFUSED: 4}
    assert document["stability"]["count"] == 2
