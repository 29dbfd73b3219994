from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from autonla.profiles import HardwareProfile, KernelPoint, KernelTable


def changed(profile: HardwareProfile, change) -> str:
    data = json.loads(profile.model_dump_json())
    change(data)
    return json.dumps(data)


def test_json_round_trip_is_exact(profile):
    again = HardwareProfile.model_validate_json(profile.model_dump_json(), strict=True)
    assert again == profile
    assert again.model_dump_json() == profile.model_dump_json()


def test_pickle_round_trip(profile):
    profile.table("gemm", "numpy", "float64")
    assert pickle.loads(pickle.dumps(profile)) == profile


CHANGES = {
    "unknown field": lambda d: d.update(password="x"),
    "unknown field in a point": lambda d: d["kernels"][0]["points"][0].update(mean=1.0),
    "missing field": lambda d: d.pop("fingerprint"),
    "other schema": lambda d: d.update(schema_version=2),
    "infinite time": lambda d: d["kernels"][0]["points"][0].update(seconds=math.inf),
    "not a number": lambda d: d["kernels"][0]["points"][0].update(spread=math.nan),
    "zero time": lambda d: d["kernels"][0]["points"][0].update(seconds=0.0),
    "negative spread": lambda d: d["kernels"][0]["points"][0].update(spread=-0.1),
    "zero dimension": lambda d: d["kernels"][0]["points"][0].update(dims=[4, 0, 4]),
    "huge dimension": lambda d: d["kernels"][0]["points"][0].update(dims=[2**63, 4, 4]),
    "no dimension": lambda d: d["kernels"][0]["points"][0].update(dims=[]),
    "fractional repeats": lambda d: d["kernels"][0]["points"][0].update(repeats=1.5),
    "text for a number": lambda d: d["kernels"][0]["points"][0].update(seconds="1.0"),
    "shape twice": lambda d: d["kernels"][0]["points"].append(d["kernels"][0]["points"][0]),
    "mixed ranks": lambda d: d["kernels"][0]["points"][0].update(dims=[4, 4]),
    "table twice": lambda d: d["kernels"].append(d["kernels"][0]),
    "enabled and empty": lambda d: d["kernels"][0].update(points=[]),
    "disabled without reason": lambda d: d["kernels"][2].update(reason=None),
    "no threads": lambda d: d["kernels"][0].update(threads=0),
    "zero scale": lambda d: d.update(scale=0.0),
    "local time": lambda d: d.update(created="2026-01-02T03:04:05+02:00"),
    "unknown rigor": lambda d: d.update(rigor="sloppy"),
    "made-up energy": lambda d: d["energy"].update(source="guess"),
    "negative watts": lambda d: d["energy"].update(idle_watts=-1.0),
    "negative sigma": lambda d: d.update(corrections={"lu": {"log_bias": 0.0, "log_sigma": -1.0, "count": 3}}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_no_profile_holds_is_refused(profile, change):
    with pytest.raises(ValidationError):
        HardwareProfile.model_validate_json(changed(profile, change), strict=True)


def test_the_change_itself_is_what_is_refused(profile):
    assert HardwareProfile.model_validate_json(changed(profile, lambda d: None), strict=True) == profile


def test_a_repeated_table_is_named(profile):
    with pytest.raises(ValidationError, match="two tables for gemm/numpy/cpu/float64/1"):
        HardwareProfile.model_validate(dict(profile) | {"kernels": [*profile.kernels, profile.kernels[0]]})


def test_models_are_frozen(profile):
    with pytest.raises(ValidationError):
        setattr(profile, "scale", 2.0)  # noqa: B010  a type checker sees it too
    with pytest.raises(ValidationError):
        setattr(profile.kernels[0], "enabled", False)  # noqa: B010


def test_numpy_numbers_are_accepted():
    numbers = {
        "dims": [np.int64(3)],
        "seconds": np.float32(0.5),
        "spread": np.float64(0.25),
        "repeats": np.int32(7),
    }
    point = KernelPoint.model_validate(numbers)
    assert point == KernelPoint(dims=(3,), seconds=0.5, spread=0.25, repeats=7)
    assert type(point.seconds) is float
    assert type(point.dims[0]) is int


def test_table_lookup(profile):
    assert profile.table("gemm", "numpy", "float64", threads=1) is profile.kernels[0]
    assert profile.table("gemm", "numpy", "float64", threads=2) is profile.kernels[1]
    assert profile.table("gemm", "numpy", "float64") is profile.kernels[1], "the largest number of threads"
    assert profile.table("gemm", "numpy", "float64", threads=3) is None
    assert profile.table("gemm", "numpy", "float64", device="cuda:0") is None
    assert profile.table("syrk", "numpy", "float64") is None
    disabled = profile.table("gemm", "torch", "float16")
    assert disabled is not None
    assert not disabled.enabled


def test_the_largest_number_of_threads_is_found_in_any_order(profile):
    tables = [
        KernelTable(kernel="gemv", backend="numpy", dtype="float64", threads=t, points=profile.kernels[0].points)
        for t in (2, 16, 4)
    ]
    reordered = HardwareProfile.model_validate(dict(profile) | {"kernels": tables})
    assert reordered.table("gemv", "numpy", "float64") is reordered.kernels[1]


def test_with_scale(profile):
    profile.table("gemm", "numpy", "float64")
    doubled = profile.with_scale(2)
    assert (doubled.scale, profile.scale) == (2.0, 1.0)
    assert doubled.with_scale(3.0).scale == 3.0
    assert doubled.table("gemm", "numpy", "float64") is profile.table("gemm", "numpy", "float64")
    assert doubled.with_scale(1.0) == profile
    assert doubled != profile


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_with_scale_refuses(profile, factor):
    with pytest.raises(ValueError, match="positive finite"):
        profile.with_scale(factor)
