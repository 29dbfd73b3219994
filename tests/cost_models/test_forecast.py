"""Forecasts: run and certificate together, corrections, plain data."""

from __future__ import annotations

import json
import math

import pytest

from autonla.cost_models.forecast import Forecast, corrected, forecast
from autonla.cost_models.price import Unpriced, price
from autonla.primitives.interval import Interval
from autonla.primitives.work import Calls, Work
from autonla.profiles import Correction

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
    assert result.joules.median == pytest.approx(sum(price(work, PROFILE).joules.median for work in (RUN, CERTIFY)))
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


def test_correction_moves_the_run_only() -> None:
    plain = forecast(RUN, CERTIFY, ERROR, PROFILE)
    twice = forecast(RUN, CERTIFY, ERROR, PROFILE, Correction(log_bias=math.log(2.0), log_sigma=0.1, count=10_000))
    assert dict(twice.stages)["run"] == pytest.approx(2.0 * dict(plain.stages)["run"], rel=1e-3)
    assert dict(twice.stages)["certify"] == dict(plain.stages)["certify"]


def test_few_records_are_trusted_little() -> None:
    priced = price(RUN, PROFILE)
    ratios = [
        corrected(priced, Correction(log_bias=1.0, log_sigma=0.5, count=n)).seconds.median / priced.seconds.median
        for n in (0, 1, 3, 1000)
    ]
    assert ratios[0] == 1.0
    assert ratios == sorted(ratios)
    assert ratios[2] == pytest.approx(math.exp(0.5))
    assert ratios[3] == pytest.approx(math.e, rel=0.01)


def test_scattered_records_widen_the_interval() -> None:
    priced = price(RUN, PROFILE)
    calm, wild = (corrected(priced, Correction(log_bias=0.0, log_sigma=s, count=50)).seconds for s in (0.01, 1.0))
    assert calm.sigma < priced.seconds.sigma < wild.sigma
    assert wild.sigma == pytest.approx(1.0, rel=0.1)


def test_no_correction_is_no_change() -> None:
    priced = price(RUN, PROFILE)
    assert corrected(priced, None) is priced
