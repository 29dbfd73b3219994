"""Rules of other systems and learned selectors on made-up rows: their lists, their arithmetic, their blindness."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from autonla.planner.bench import Row, metrics
from autonla.planner.bench.learned import MODELS, learned_orders
from autonla.planner.bench.measuring import HOPELESS
from autonla.planner.bench.selectors import (
    Facts,
    choice_alone,
    cola,
    contests,
    facts,
    linear_solve,
    scikit_learn,
    seconds,
    size_bin,
    tuned_linear_solve,
)
from tests._support.bench_rows import row, timed


def problem(family: str, m: int, n: int, rank: int | None = None, ridge: float = 0.0) -> Facts:
    return Facts(family, m, n, 1, rank, ridge, False, "float64", "numpy", 1e-8)


# --- what a row knows


def test_facts_come_from_the_features_and_in_older_files_from_the_tags():
    new = row(tags={"m": 1}, features={"m": 7, "n": 3, "nrhs": 2, "rank": None, "ridge": 0.5, "dtype": "float32"})
    assert facts(new) == Facts("low_rank", 7, 3, 2, None, 0.5, False, "float32", "numpy", 1e-8)
    old = row(tags={"m": 7, "n": 3, "rank": 2})
    assert facts(old) == Facts("low_rank", 7, 3, 1, 2, 0.0, False, "float64", "numpy", 1e-8)
    assert facts(row(tags={"real": "digits"})) is None


# --- the rules


@pytest.mark.parametrize(
    ("m", "n", "rank", "solver"),
    [
        (200, 20, 5, "covariance_eigh"),  # m >= 10 n
        (199, 20, 5, "full"),
        (500, 400, 5, "full"),  # not above 500
        (501, 400, 5, "randomized"),
        (120, 600, 95, "randomized"),  # 0.8 min(m, n) is 96
        (120, 600, 96, "full"),
        (501, 400, None, "full"),  # a fraction of the variance
        (300, 20, None, "covariance_eigh"),
    ],
)
def test_the_rule_for_pca_is_that_of_the_installed_scikit_learn(m, n, rank, solver):
    from sklearn.decomposition import PCA

    X = np.random.default_rng(0).standard_normal((m, n))
    model = PCA(0.5 if rank is None else rank, random_state=0).fit(X)
    assert model._fit_svd_solver == solver
    ours = {"covariance_eigh": ("gram", "svd"), "full": ("svd",), "randomized": ("randomized_svd", "svd")}
    assert scikit_learn(problem("low_rank", m, n, rank)) == ours[solver]


def test_the_rules_for_regression_are_those_of_scikit_learn():
    from sklearn.linear_model import Ridge

    X = np.random.default_rng(0).standard_normal((30, 5))
    assert Ridge(alpha=1.0).fit(X, X[:, 0]).solver_ == "cholesky"
    assert scikit_learn(problem("least_squares", 30, 5, ridge=1.0)) == ("normal_equations", "svd")
    assert scikit_learn(problem("least_squares", 30, 5)) == ("svd",)
    assert scikit_learn(problem("linear_system", 30, 30)) is None


def test_linear_solve_factors():
    assert linear_solve(problem("linear_system", 50, 50)) == ("lu", "qr")
    assert linear_solve(problem("least_squares", 50, 5)) == ("householder_qr", "pivoted_qr")
    assert linear_solve(problem("least_squares", 5, 50)) == ("pivoted_qr",)
    assert linear_solve(problem("low_rank", 5, 50)) is None


def test_cola_changes_its_mind_at_a_million_entries():
    assert cola(problem("linear_system", 1000, 1000)) == ("lu",)
    assert cola(problem("linear_system", 1001, 1001)) is None
    assert cola(problem("least_squares", 10_000, 100)) == ("svd",)
    assert cola(problem("least_squares", 10_001, 100)) == ("spir",)
    assert cola(problem("low_rank", 1000, 1000)) == ("svd",)
    assert cola(problem("low_rank", 1000, 1001)) == ("lanczos", "block_krylov", "randomized_svd")
    assert cola(problem("product", 10, 10)) is None


def test_every_name_on_a_list_is_one_of_our_algorithms():
    from autonla.primitives import algorithms_for

    for family in ("least_squares", "linear_system", "low_rank"):
        ours = {algorithm.name for algorithm in algorithms_for(family)}
        for m, n in ((20, 20), (5000, 500), (500, 5000), (3000, 3000)):
            for rank in (None, 5):
                for ridge in (0.0, 1.0):
                    for rule in (scikit_learn, linear_solve, cola):
                        assert set(rule(problem(family, m, n, rank, ridge)) or ()) <= ours


@pytest.mark.parametrize(("n", "number"), [(20, 0), (21, 1), (100, 1), (300, 2), (1000, 3), (1001, 4)])
def test_size_bins(n, number):
    assert size_bin(n) == number


def test_autotuning_takes_the_highest_mean_rate_of_each_bin():
    """Rates n^3 / s, not times: in the bin up to 1000, numpy wins by the larger problem."""

    def lu(n: int, numpy: float | None, torch: float) -> Row:
        candidates = (timed("lu[numpy float64]", numpy), timed("lu[torch float64]", torch), timed("qr[numpy]", 50.0))
        return row(1.0, 100.0, "linear_system", tags={"m": n, "n": n}, candidates=candidates)

    rows = [lu(400, 2.0, 1.0), lu(1000, 5.0, 10.0), lu(2000, 9.0, 3.0), lu(1000, None, 10.0), row(), row(tags={})]
    found = tuned_linear_solve(rows)
    small, large = ("lu[numpy float64]", "qr"), ("lu[torch float64]", "qr")
    assert found == [small, small, large, small, None, None]
    # numpy's fails on the fourth: a second for trying, then QR
    assert [seconds(r, o) for r, o in zip(rows, found, strict=True) if o] == [2.0, 5.0, 3.0, 51.0]
    assert tuned_linear_solve([row(family="linear_system", tags={"m": 5, "n": 5})]) == [None]


# --- what a choice takes


def test_the_fastest_variant_of_the_first_choice_counts():
    candidates = (timed("a[numpy]", 3.0), timed("a(k=2)[torch]", 2.0), timed("a[scipy]", None), timed("b[numpy]", 1.0))
    r = row(candidates=candidates)
    assert seconds(r, ("a", "b")) == 2.0
    assert seconds(r, ("b",)) == 1.0
    assert seconds(r, ("a[numpy]",)) == 3.0  # a label is one variant


def test_what_fails_first_is_paid_for():
    """By the least forecast of its variants; then the next on the list, and at its end the safe default."""
    candidates = (
        timed("a[numpy]", None, 0.25), timed("a[torch]", None, 0.5), timed("b[numpy]", 3.0, 9.0),
        timed("c[numpy]", None, 0.125),
    )  # fmt: skip
    r = row(default=7.0, candidates=candidates)
    assert seconds(r, ("a", "b")) == 3.25
    assert seconds(r, ("a", "c", "b")) == 3.375
    assert seconds(r, ("a", "c")) == 7.375
    assert seconds(r, ()) == 7.0


def test_what_was_not_raced():
    """Hopelessly slow: its forecast. Rejected by the planner, or unknown: passed over."""
    r = row(1.0, 7.0, candidates={"b": 3.0}, unraced={"slow": HOPELESS, "rejected": 0.9 * HOPELESS})
    assert seconds(r, ("slow", "b")) == HOPELESS
    assert seconds(r, ("rejected", "b")) == 3.0
    assert seconds(r, ("unheard of", "b")) == 3.0
    assert seconds(r, ("rejected",)) == 7.0


def test_our_choice_alone_is_reckoned_the_same_way():
    candidates = (timed("a[numpy]", None, 0.25), timed("b[numpy]", 3.0), timed("c[numpy]", 2.0))
    assert choice_alone(row(chosen="c[numpy]", candidates=candidates)) == 2.0
    assert choice_alone(row(chosen="a[numpy]", candidates=candidates)) == 3.25
    unraced = row(chosen="d[numpy]", candidates=candidates)
    assert choice_alone(unraced) == metrics.measured(unraced) == pytest.approx(0.9)


def test_contests_put_regrets_of_the_same_rows_side_by_side():
    shape = {"m": 2000, "n": 2000, "rank": 20}
    candidates = (timed("randomized_svd[scipy]", None, 0.5), timed("svd[numpy]", 4.0), timed("lanczos[scipy]", 2.0))
    first = row(3.0, 5.0, tags=shape, candidates=candidates, chosen="lanczos[scipy]")
    second = row(2.0, 5.0, tags={"real": "who knows"}, candidates={"svd": 1.0}, chosen="svd[numpy float64]")
    unknown = row(status="refused", candidates={}, stages={}, forecast=None)
    without_accuracy = row(target=0.0)
    found = {c.name: c for c in contests([first, second, unknown, without_accuracy], learned=False)}
    assert set(found) == {"safe default", "single best", "scikit-learn", "CoLA"}  # no others have a say on low rank
    assert found["safe default"].regrets == (2.5, 5.0)
    assert found["single best"].regrets == (2.0, 1.0)  # svd: 4 and 1; lanczos: 2 and the default's 5
    assert found["scikit-learn"].regrets == (2.25,)  # half a second for the randomized one, then the SVD
    assert found["CoLA"].regrets == (1.0,)
    assert found["scikit-learn"].ours == (1.5,)
    assert found["scikit-learn"].choice == (1.0,)
    assert found["safe default"].ours == (1.5, 2.0)
    assert found["safe default"].to_dict() == {
        "name": "safe default", "sort": "fixed", "rows": 2,
        "regret": {"mean": pytest.approx(math.sqrt(12.5)), "p95": 5.0, "max": 5.0},
        "autonla": {"mean": pytest.approx(math.sqrt(3.0)), "p95": 2.0, "max": 2.0},
        "autonla_choice": {"mean": 1.0, "p95": 1.0, "max": 1.0},
    }  # fmt: skip
    assert contests([without_accuracy, unknown]) == []


# --- learned selectors


def grid(fast_when_small: str = "a", copies: int = 2) -> list[Row]:
    """Least squares of 14 sizes: up to 1000 columns one algorithm is ten times as fast, above the other."""
    rows = []
    for n in np.geomspace(10, 1e5, 14).round().astype(int).tolist():
        small = fast_when_small if n <= 1000 else "b"
        times = {"a": 10.0, "b": 10.0} | {small: 1.0}
        for k in range(copies):
            name = f"{n}, {k}"
            rows.append(row(1.0, 20.0, "least_squares", name=name, tags={"m": 10 * n, "n": n}, candidates=times))
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_learned_selectors_find_what_follows_from_the_shape(name):
    rows = grid()
    orders = learned_orders(rows, name)
    right = [
        order == (("a", "b") if r.tags["n"] <= 1000 else ("b", "a")) for r, order in zip(rows, orders, strict=True)
    ]
    at_the_border = 4  # two sizes next to the change, two rows each
    assert sum(right) >= len(rows) - at_the_border


@pytest.mark.parametrize("name", MODELS)
def test_learned_selectors_never_see_a_copy_of_what_they_are_judged_by(name):
    """One shape behaves unlike all its neighbours: told of its copies a model would know, from the others it cannot."""
    odd = {"m": 100, "n": 10}
    rows = [
        replace(r, tags=odd, candidates=(timed("a[numpy]", 10.0), timed("b[numpy]", 1.0))) if r.tags["n"] == 10 else r
        for r in grid(copies=6)
    ]
    orders = learned_orders(rows, name)
    assert {order for r, order in zip(rows, orders, strict=True) if r.tags == odd} == {("a", "b")}


def test_a_model_needs_rows_of_other_shapes_and_knows_its_own_family_only():
    few = grid(copies=1)[:4]
    assert learned_orders(few, MODELS[0]) == [None] * 4
    rows = [*grid(), row(family="low_rank", tags={"m": 5, "n": 5}), row(tags={})]
    assert learned_orders(rows, MODELS[0])[-2:] == [None, None]
    assert all(learned_orders(rows, MODELS[0])[:-2])


def test_failures_teach_a_model_to_avoid_them():
    """Where b fails it costs its forecast and the default, however fast it would have been."""
    rows = [replace(r, candidates=(timed("a[numpy]", 3.0), timed("b[numpy]", None, 1.0))) for r in grid()]
    assert set(learned_orders(rows, MODELS[0])) == {("a", "b")}
