from __future__ import annotations

from collections.abc import Iterator

import pytest

from autonla.profiles import (
    EnergyModel,
    Fingerprint,
    HardwareProfile,
    KernelPoint,
    KernelTable,
    fingerprint,
    store,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder of the library's own, for one test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("AUTONLA_HOME", str(folder))
    monkeypatch.delenv("AUTONLA_PROFILE", raising=False)
    return folder


@pytest.fixture(scope="session")
def here() -> Fingerprint:
    return fingerprint()


@pytest.fixture
def make_profile(here):
    """Builds a small profile of this machine; keywords replace fields."""

    def make(**fields) -> HardwareProfile:
        points = tuple(
            KernelPoint(dims=(n, n, n), seconds=2e-11 * n**3, spread=0.1, repeats=5) for n in (64, 256, 1024)
        )
        slow = "3500 times slower than float32"
        default = {
            "name": "synthetic",
            "created": "2026-01-02T03:04:05Z",
            "rigor": "quick",
            "seconds_spent": 1.5,
            "complete": True,
            "fingerprint": here,
            "kernels": [
                KernelTable(kernel="gemm", backend="numpy", dtype="float64", threads=1, points=points),
                KernelTable(kernel="gemm", backend="numpy", dtype="float64", threads=2, points=points[:2]),
                KernelTable(
                    kernel="gemm",
                    backend="torch",
                    dtype="float16",
                    threads=2,
                    points=(),
                    enabled=False,
                    reason=slow,
                    max_error=1e-3,
                ),
            ],
            "energy": EnergyModel(
                source="tdp-model",
                idle_watts=10,
                joules_per_flop={"float64": 1e-10},
                joules_per_byte=1e-10,
                relative_uncertainty=0.5,
            ),
            "python_overhead_seconds": 1e-6,
        }
        return HardwareProfile.model_validate(default | fields)

    return make


@pytest.fixture
def profile(make_profile) -> HardwareProfile:
    return make_profile()


@pytest.fixture
def shipped(make_profile, monkeypatch) -> Iterator[HardwareProfile]:
    """A generic profile in place of the one in the package: these tests are not about its content."""
    generic = make_profile(name="generic", rigor="generic")
    monkeypatch.setattr(store, "generic", lambda: generic)
    store._kept.cache_clear()
    store._named.cache_clear()
    yield generic
    store._kept.cache_clear()
    store._named.cache_clear()
