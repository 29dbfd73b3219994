"""Forecasts: run and certificate together, corrections, plain data."""

from __future__ import annotations

import json
import math

import pytest

from autonla.cost_models.corrections import Bias
from autonla.cost_models.forecast import Forecast, corrected, forecast
from autonla.cost_models.price import Unpriced, price
from autonla.primitives.interval import Interval
from autonla.primitives.work import Calls, Work
from autonla.profiles import Correction, Term

from .machines import profile_of, table_of

PROFILE = profile_of(
    table_of("gemm", lambda m, n, k: 1e-6 + 2 * m * n * k / 5e10),
    table_of("gemv", lambda m, n: 1e-6 + 8 * m * n / 1e10),
)
K = Calls("scipy", "float64")
RUN = Work((K("gemm", 500, 500, 500),), peak_bytes=1e6)
CERTIFY = Work((K("gemv", 500, 500, count=2),), peak_bytes=2e6)
ERROR = Interval(1e-10, 1e-11, 1e-9)


def test_run_and_certificate_add_up() -> None:
    result = forecast(RUN, CERTIFY, ERROR, PROFILE)
    parts = [price(work, PROFILE).seconds for work in (RUN, CERTIFY)]
    assert result.seconds == parts[0] + parts[1]
    assert dict(result.stages) == {"run": parts[0].median, "certify": parts[1].median}
    assert result.joules.median == pytest.approx(
        sum(price(work, PROFILE).joules.median for work in (RUN, CERTIFY)), rel=1e-6, abs=0.0
    )
    assert result.error == ERROR
    assert result.energy_source == "tdp-model"


def test_memory_is_the_larger_peak_with_a_margin() -> None:
    size = forecast(RUN, CERTIFY, ERROR, PROFILE).bytes
    assert size.median == 2e6
    assert size.low < size.median < size.high <= 1.1 * size.median + 4 * 2**20  # BLAS has buffers of its own
    assert forecast(RUN.holding(5e6), CERTIFY, ERROR, PROFILE).bytes.median == 6e6


def test_plain_data_and_back() -> None:
    result = forecast(RUN, CERTIFY, Interval(1e-3, 0.0, math.inf), PROFILE)
    assert Forecast.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


def test_missing_kernel() -> None:
    with pytest.raises(Unpriced):
        forecast(RUN, Work((K("potrf", 10),)), ERROR, PROFILE)


def test_plain_data_of_a_version_that_knew_no_corrections() -> None:
    data = forecast(RUN, CERTIFY, ERROR, PROFILE).to_dict()
    del data["correction"]
    assert Forecast.from_dict(data).correction == 1.0
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive factor"):
            Forecast.from_dict({**data, "correction": wrong})


def constant(log_bias: float, log_sigma: float = 0.1, count: int = 10_000) -> Correction:
    return Correction(log_bias=log_bias, log_sigma=log_sigma, count=count)


def test_a_correction_moves_run_and_certificate() -> None:
    plain = forecast(RUN, CERTIFY, ERROR, PROFILE)
    twice = forecast(RUN, CERTIFY, ERROR, PROFILE, constant(math.log(2.0)))
    assert plain.correction == 1.0
    assert twice.correction == pytest.approx(2.0, rel=1e-3, abs=0.0)
    for stage in ("run", "certify"):
        assert dict(twice.stages)[stage] == pytest.approx(
            twice.correction * dict(plain.stages)[stage], rel=1e-6, abs=0.0
        )
    assert twice.seconds.median == pytest.approx(twice.correction * plain.seconds.median, rel=1e-6, abs=0.0)
    assert twice.joules.median == pytest.approx(twice.correction * plain.joules.median, rel=1e-6, abs=0.0)
    assert twice.bytes == plain.bytes
    assert twice.error == plain.error
    assert Forecast.from_dict(json.loads(json.dumps(twice.to_dict(), allow_nan=False))) == twice


def test_a_correction_may_depend_on_the_shape() -> None:
    term = Term(feature="log_m", slope=1.0, centre=math.log(500), low=math.log(250), high=math.log(1000))
    sloped = Correction(log_bias=0.0, log_sigma=0.1, count=10_000, terms=(term,))

    def moved(m: int) -> float:
        return forecast(RUN, CERTIFY, ERROR, PROFILE, sloped, shape=(m, 500)).correction

    assert moved(250) == pytest.approx(0.5, rel=1e-3, abs=0.0)
    assert moved(500) == pytest.approx(1.0, rel=1e-3, abs=0.0)
    assert moved(1000) == pytest.approx(2.0, rel=1e-3, abs=0.0)
    assert 1.0 < moved(2000) < 2.0


def test_unsure_is_the_analytic_forecast() -> None:
    plain = forecast(RUN, CERTIFY, ERROR, PROFILE)
    term = Term(feature="log_m", slope=0.0, centre=0.0, low=math.log(2), high=math.log(4))
    far = Correction(log_bias=1.0, log_sigma=0.1, count=99, terms=(term,))
    assert forecast(RUN, CERTIFY, ERROR, PROFILE, far, shape=(500, 500)) == plain
    assert forecast(RUN, CERTIFY, ERROR, PROFILE, constant(1.0, count=0)) == plain


def test_few_records_are_trusted_little() -> None:
    plain = forecast(RUN, CERTIFY, ERROR, PROFILE).seconds.median
    ratios = [
        forecast(RUN, CERTIFY, ERROR, PROFILE, constant(1.0, 0.5, n)).seconds.median / plain for n in (0, 1, 3, 1000)
    ]
    assert ratios[0] == 1.0
    assert ratios == sorted(ratios)
    assert ratios[2] == pytest.approx(math.exp(0.5), rel=1e-6, abs=0.0)
    assert ratios[3] == pytest.approx(math.e, rel=0.01, abs=0.0)


def test_scattered_records_widen_the_interval() -> None:
    plain = forecast(RUN, CERTIFY, ERROR, PROFILE).seconds
    calm, wild = (forecast(RUN, CERTIFY, ERROR, PROFILE, constant(0.0, sigma, 50)).seconds for sigma in (0.01, 1.0))
    assert calm.sigma < plain.sigma < wild.sigma
    assert wild.sigma == pytest.approx(1.0, rel=0.1, abs=0.0)


def test_an_interval_without_a_lower_end_is_only_moved() -> None:
    off = Bias(log_factor=math.log(2.0), log_sigma=0.1, trust=1.0)
    assert corrected(Interval(1.0, 0.0, 3.0), off) == Interval(2.0, 0.0, 6.0)
    assert corrected(Interval(1.0, 0.5, math.inf), off) == Interval(2.0, 1.0, math.inf)
    assert corrected(Interval(1.0, 0.5, 3.0), None) == Interval(1.0, 0.5, 3.0)
