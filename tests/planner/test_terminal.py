"""Units a person reads, and the table of a profile."""

from __future__ import annotations

import math

import pytest

from autonla.planner.terminal import disabled, profile_table, show_energy, show_error
from autonla.profiles import HardwareProfile
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()


def shown(profile: HardwareProfile) -> dict[str, dict[str, str]]:
    """Cells of the table by kernel and column."""
    columns = profile_table(profile).columns
    names, cells = [list(column.cells) for column in columns], [str(column.header) for column in columns]
    return {
        str(kernel): {header: str(column[i]) for header, column in zip(cells[1:], names[1:], strict=True)}
        for i, kernel in enumerate(names[0])
    }


def changed(kernel: str, backend: str, **fields) -> HardwareProfile:
    tables = (t.model_copy(update=fields) if (t.kernel, t.backend) == (kernel, backend) else t for t in PROFILE.kernels)
    return synthetic_profile(kernels=tuple(tables))


@pytest.mark.parametrize(
    ("joules", "text"),
    [(None, "-"), (math.inf, "-"), (math.nan, "-"), (0.0123, "12.3 mJ"), (1.0, "1 J"), (34.56, "34.6 J")],
)
def test_energy(joules, text):
    assert show_energy(joules) == text


@pytest.mark.parametrize(
    ("error", "text"), [(None, "-"), (math.inf, "unknown"), (0.0, "0"), (2.34e-9, "2.3e-09"), (1.0, "1.0e+00")]
)
def test_errors(error, text):
    assert show_error(error) == text


def test_a_rate_is_the_best_that_was_measured():
    table = PROFILE.table("gemm", "scipy", "float64", "cpu")
    assert table is not None
    best = max(2.0 * p.dims[0] * p.dims[1] * p.dims[2] / p.seconds for p in table.points)
    assert shown(PROFILE)["gemm"]["scipy\nf64"] == f"{best / 1e9:.3g}"
    assert shown(PROFILE)["gemm"][""] == "GFLOP/s"
    assert shown(PROFILE)["gemv"][""] == "GB/s"


def test_a_kernel_that_is_disabled_is_off_and_named():
    profile = changed("gemm", "scipy", enabled=False, reason="it is wrong")
    assert shown(profile)["gemm"]["scipy\nf64"] == "off"
    assert shown(profile)["gemm"]["numpy\nf64"] != "off"
    assert disabled(profile) == ["scipy gemm float64: it is wrong", "scipy gemm float32: it is wrong"]
    assert disabled(PROFILE) == []


def test_a_kernel_that_was_not_measured_is_no_row():
    assert "syevd" in shown(PROFILE)
    few = synthetic_profile(without=tuple(("syevd", backend) for backend in ("numpy", "scipy", "torch")))
    assert set(shown(PROFILE)) - set(shown(few)) == {"syevd"}


def test_numpy_factors_when_it_solves_and_shows_no_rate_of_its_own():
    assert PROFILE.table("getrf", "numpy", "float64", "cpu") is not None
    assert shown(PROFILE)["getrf"]["numpy\nf64"] == ""
    assert shown(PROFILE)["getrf"]["scipy\nf64"] != ""
