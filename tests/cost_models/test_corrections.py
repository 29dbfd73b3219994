"""Corrections: a bias that was planted is found, and where little is known nothing is claimed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from autonla.cost_models import corrections
from autonla.cost_models.corrections import bias, correction_of, features, fit, key_of, level
from autonla.profiles import Correction, HardwareProfile, Run, Term

from .machines import profile_of

LU = key_of("lu", "scipy", "float64")


def run(m: int, n: int, factor: float, *, algorithm: str = "lu", backend: str = "scipy", **fields) -> Run:
    """A run that took `factor` times what a made-up machine is forecast to take."""
    forecast = {"forecast_run": 2.0 * m * n * n / 5e10, "forecast_certify": 8.0 * m * n / 1e10}
    default = {
        "profile": "me", "kind": "linear_system", "algorithm": algorithm, "backend": backend, "dtype": "float64",
        "label": f"{algorithm}[{backend} float64]", "m": m, "n": n, "nrhs": 1, "rank": None, "order": "C",
        "run": factor * forecast["forecast_run"], "certify": factor * forecast["forecast_certify"],
        "forecast_bytes": 1.0, "peak_bytes": None,
    }  # fmt: skip
    return Run.model_validate(default | forecast | fields)


def runs(
    count: int, factor: Callable[[int, int], float], *, scatter: float = 0.0, seed: int = 0, **fields
) -> list[Run]:
    rng = np.random.default_rng(seed)
    shapes = [
        (int(m), int(m / r)) for m, r in zip(np.geomspace(500, 5000, count), rng.uniform(1, 10, count), strict=True)
    ]
    return [run(m, n, factor(m, n) * math.exp(scatter * rng.standard_normal()), **fields) for m, n in shapes]


def known(m: int, n: int) -> dict[str, float]:
    made = run(m, n, 1.0)
    found = features(m, n, made.forecast_run, made.forecast_certify)
    assert found is not None
    return found


def expected(correction: Correction, m: int, n: int) -> float:
    found = bias(correction, known(m, n))
    assert found is not None
    return math.exp(found.log_factor)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_a_constant_bias_is_found(factor):
    correction = fit(runs(20, lambda m, n: factor, scatter=0.1))[LU]
    for m, n in ((600, 300), (2000, 1000), (4000, 800)):
        assert expected(correction, m, n) == pytest.approx(factor, rel=0.15, abs=0.0)
    assert 0.05 < correction.log_sigma < 0.2
    assert correction.count == 20


def test_a_bias_that_depends_on_the_shape_is_found():
    planted = lambda m, n: (m / 2000) ** 0.4  # noqa: E731
    correction = fit(runs(30, planted, scatter=0.05))[LU]
    for m, n in ((700, 300), (2000, 500), (4500, 1500)):
        assert expected(correction, m, n) == pytest.approx(planted(m, n), rel=0.15, abs=0.0)
    assert correction.log_sigma < 0.12


def test_outliers_hardly_move_it():
    calm = runs(20, lambda m, n: 1.2, scatter=0.05)
    wild = [r.model_copy(update={"run": 30.0 * r.run}) if i % 7 == 3 else r for i, r in enumerate(calm)]
    assert expected(fit(wild)[LU], 2000, 500) == pytest.approx(1.2, rel=0.15, abs=0.0)


def test_intervals_cover_runs_that_were_not_seen():
    correction = fit(runs(40, lambda m, n: 1.3, scatter=0.2))[LU]
    inside = 0
    for r in runs(400, lambda m, n: 1.3, scatter=0.2, seed=1):
        found = bias(correction, known(r.m, r.n))
        assert found is not None
        y = math.log(r.run / r.forecast_run)
        inside += abs(y - found.log_factor) <= 1.645 * found.log_sigma
    assert 0.84 <= inside / 400 <= 0.97


def test_too_few_runs_are_no_model():
    assert fit(runs(corrections.FEWEST - 1, lambda m, n: 2.0)) == {}
    assert LU in fit(runs(corrections.FEWEST, lambda m, n: 2.0))


def test_first_runs_and_runs_without_times_say_nothing():
    useless = [run(1000, 500, 9.0, first=True)] * 10 + [run(1000, 500, 0.0)] * 10
    useless += [run(1000, 500, 1.0, forecast_run=0.0, forecast_certify=0.0)] * 10
    assert fit(useless) == {}


def test_unsure_outside_of_what_was_seen():
    correction = fit(runs(20, lambda m, n: 2.0))[LU]  # m from 500 to 5000
    inside, beyond, far = (bias(correction, known(m, 500)) for m in (4000, 9000, 40_000))
    assert inside is not None
    assert beyond is not None
    assert 0.0 < beyond.trust < inside.trust
    assert far is None
    assert bias(correction, known(20, 20)) is None
    assert bias(correction, None) is None


def test_it_fades_without_a_jump():
    correction = fit(runs(20, lambda m, n: (m / 1000) ** 0.3))[LU]
    moved = []
    for m in np.geomspace(300, 60_000, 2000):
        found = bias(correction, known(int(m), 800))
        moved.append(0.0 if found is None else found.trust * found.log_factor)
    assert np.max(np.abs(np.diff(moved))) < 0.02
    assert moved[0] == 0.0 or moved[-1] == 0.0
    assert np.max(np.abs(moved)) > 0.2


def test_a_feature_that_this_version_does_not_know():
    term = Term(feature="phase_of_the_moon", slope=1.0, centre=0.0, low=-1.0, high=1.0)
    assert bias(Correction(log_bias=0.1, log_sigma=0.1, count=9, terms=(term,)), known(1000, 500)) is None


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_bounded(factor):
    correction = fit(runs(20, lambda m, n: factor))[LU]
    assert abs(math.log(expected(correction, 2000, 500))) == pytest.approx(
        math.log(corrections.MOST), rel=1e-6, abs=0.0
    )


def test_trust_grows_with_the_runs():
    trusts = []
    for count in (0, 1, 3, 30, 1000):
        found = bias(Correction(log_bias=0.3, log_sigma=0.1, count=count), known(1000, 500))
        trusts.append(0.0 if found is None else found.trust)
    assert trusts == sorted(trusts)
    assert trusts[0] == 0.0
    assert trusts[2] == 0.5
    assert trusts[-1] > 0.99


def test_algorithms_libraries_and_dtypes_apart():
    several = [
        *runs(9, lambda m, n: 2.0),
        *runs(9, lambda m, n: 0.5, backend="torch"),
        *runs(9, lambda m, n: 1.0, algorithm="qr"),
        *runs(9, lambda m, n: 1.5, dtype="float32"),
    ]
    found = fit(several)
    assert {key: round(expected(c, 2000, 700), 2) for key, c in found.items()} == {
        "lu[scipy float64]": 2.0, "lu[torch float64]": 0.5, "qr[scipy float64]": 1.0, "lu[scipy float32]": 1.5,
    }  # fmt: skip


def test_which_correction_a_candidate_gets():
    own, general = (Correction(log_bias=x, log_sigma=0.1, count=9) for x in (0.1, 0.2))
    corrected = {"lu[scipy float64]": own, "lu": general}
    assert correction_of(corrected, "lu", "scipy", "float64") is own
    assert correction_of(corrected, "lu", "torch", "float64") is general
    assert correction_of(corrected, "qr", "scipy", "float64") is None


def test_recent_records_count_more():
    before, after = runs(150, lambda m, n: 1.0), runs(150, lambda m, n: 2.0, seed=1)
    assert expected(fit((), [*before, *after])[LU], 2000, 500) > 1.8
    assert expected(fit((), [*after, *before])[LU], 2000, 500) < 1.1
    assert expected(fit([*before, *after])[LU], 2000, 500) == pytest.approx(math.sqrt(2.0), rel=0.35, abs=0.0)


def test_a_loop_over_one_problem_does_not_outweigh_the_others():
    looped = [run(1000, 500, 2.5)] * 500
    calibration = runs(12, lambda m, n: 1.0, scatter=0.05)
    assert expected(fit(calibration, looped)[LU], 3000, 1500) < 1.9
    assert fit(calibration, looped)[LU].count < 30
    assert LU not in fit((), [run(1000, 500, 2.5)] * 5)


@pytest.mark.parametrize("alpha", [3.0, 30.0])
def test_ridge_is_that_of_scikit_learn(alpha):
    rng = np.random.default_rng(3)
    Z, w = rng.standard_normal((25, 3)), rng.uniform(0.2, 1.0, 25)
    y = 0.3 + Z @ [0.015, -0.01, 0.0] + 5e-3 * rng.standard_normal(25)
    reference = Ridge(alpha=alpha, tol=1e-12).fit(Z, y, sample_weight=w)
    assert np.abs(y - reference.predict(Z)).max() < 0.06  # no outliers: Huber's weights are one
    coefficients, _ = corrections._ridge(Z, y, w, alpha)
    np.testing.assert_allclose(coefficients, [reference.intercept_, *reference.coef_], atol=1e-10)


def test_errors_are_those_of_leaving_one_out():
    rng = np.random.default_rng(4)
    Z, w = rng.standard_normal((12, 2)), np.ones(12)
    y = 0.02 * rng.standard_normal(12)
    _, left_out = corrections._ridge(Z, y, w, 3.0)
    for i in range(12):
        keep = np.arange(12) != i
        without = Ridge(alpha=3.0, tol=1e-12).fit(Z[keep], y[keep])
        assert left_out[i] == pytest.approx(float(y[i] - without.predict(Z[[i]])[0]), abs=1e-10)


def test_plain_numbers_in_and_out_of_a_profile():
    calibration = tuple(runs(9, lambda m, n: 2.0, scatter=0.1))
    profile = profile_of().model_copy(update={"corrections": fit(calibration), "calibration": calibration})
    text = profile.model_dump_json()
    again = HardwareProfile.model_validate_json(text, strict=True)
    assert again == profile
    assert again.corrections == fit(again.calibration)
    assert len(profile.corrections[LU].model_dump_json()) < 700


def test_the_same_runs_give_the_same_fit_in_any_order_of_calibration():
    several = [*runs(9, lambda m, n: 2.0, scatter=0.1), *runs(9, lambda m, n: 0.5, backend="torch")]
    assert fit(several) == fit(several)
    one, other = fit(several)[LU], fit(several[::-1])[LU]
    assert one.log_bias == pytest.approx(other.log_bias, rel=1e-3, abs=0.0)


def test_levels():
    assert [level(n) for n in (0, 19, 20, 39, 40, 99, 100, 119, 120, 143, 144, 171)] == [
        0, 0, 20, 20, 40, 80, 100, 100, 120, 120, 144, 144,
    ]  # fmt: skip
    for n in range(1, 5000):
        assert level(n) <= n
        assert level(n) >= level(n - 1)
        assert n < 40 or level(n) >= n / 1.2 - 20


def test_nothing_is_forecast_to_take_no_time():
    assert features(10, 10, 0.0, 0.0) is None
    assert features(10, 10, math.inf, 0.0) is None
    found = features(10, 20, 1.0, 1.0)
    assert found == {"log_m": math.log(10), "log_n": math.log(20), "log_seconds": math.log(2), "certificate_share": 0.5}
