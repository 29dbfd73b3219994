"""A profile that a time limit cut, and what the shipped one adds to it."""

from __future__ import annotations

import pytest

from autonla.profiles import HardwareProfile, KernelPoint, KernelTable, completed

ORDERS = (10, 30, 100, 300, 1000, 3000)


def table(kernel: str, rate: float, orders: tuple[int, ...] = ORDERS, **fields) -> KernelTable:
    points = tuple(KernelPoint(dims=(n,), seconds=n**3 / rate, spread=0.1, repeats=5) for n in orders)
    default = {"kernel": kernel, "backend": "scipy", "dtype": "float64", "threads": 2, "points": points}
    return KernelTable.model_validate(default | fields)


def seconds(profile: HardwareProfile, kernel: str) -> dict[int, float]:
    found = profile.table(kernel, "scipy", "float64")
    assert found is not None
    return {point.dims[0]: point.seconds for point in found.points}


@pytest.fixture
def cut(make_profile) -> HardwareProfile:
    """Half as fast as the shipped one at potrf, a quarter as fast at syevd, which it measured at two shapes."""
    kernels = [table("potrf", 0.5e9), table("syevd", 0.25e9, (10, 300))]
    return make_profile(complete=False, kernels=kernels)


@pytest.fixture
def whole(make_profile) -> HardwareProfile:
    return make_profile(kernels=[table("potrf", 1e9), table("syevd", 1e9), table("getrf", 1e9)])


def test_a_missing_table_comes_at_the_speed_of_this_machine(cut, whole):
    found = seconds(completed(cut, whole), "getrf")
    assert found == pytest.approx({n: n**3 / 0.5e9 for n in ORDERS})  # six ratios of 2, two of 4


def test_a_short_table_is_filled_at_its_own_speed_and_keeps_what_was_measured(cut, whole):
    found = seconds(completed(cut, whole), "syevd")
    assert found == pytest.approx({n: n**3 / 0.25e9 for n in ORDERS})


def test_a_shape_that_only_this_machine_has_is_kept_and_compared_with_nothing(make_profile, whole):
    cut = make_profile(complete=False, kernels=[table("syevd", 0.25e9, (10, 77))])
    found = seconds(completed(cut, whole), "syevd")
    assert found == pytest.approx({n: n**3 / 0.25e9 for n in (*ORDERS, 77)}, rel=1e-9, abs=0.0)


def test_a_table_with_points_enough_is_left_alone(cut, whole):
    assert seconds(completed(cut, whole), "potrf") == seconds(cut, "potrf")
    assert set(completed(cut, whole).table("potrf", "scipy", "float64").points) == set(cut.kernels[0].points)  # type: ignore[union-attr]


def test_what_is_disabled_here_stays_so(make_profile, whole):
    disabled = table("syevd", 1e9, (), enabled=False, reason="it is wrong on this machine")
    found = completed(make_profile(complete=False, kernels=[disabled]), whole)
    assert found.table("syevd", "scipy", "float64") == disabled


def test_everything_else_is_kept(cut, whole):
    found = completed(cut, whole)
    for name in set(HardwareProfile.model_fields) - {"kernels"}:
        assert getattr(found, name) == getattr(cut, name), name
