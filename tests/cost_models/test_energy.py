"""The energy ladder, on counters made of files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autonla.cost_models import energy
from autonla.cost_models.energy import EnergyMeter, RaplCounter, Sample, calibrated, energy_model, rapl_counters
from autonla.primitives.work import KernelCall, Work
from autonla.profiles import EnergyModel

from .machines import FINGERPRINT, table_of

MODEL = EnergyModel(
    source="calibrated",
    idle_watts=10.0,
    joules_per_flop={"float64": 1e-9},
    joules_per_byte=0.0,
    relative_uncertainty=0.5,
)


def domain(root: Path, name: str, label: str, microjoules: int, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / "energy_uj"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    domain(tmp_path, "intel-rapl:0", "package-0", 100)
    domain(tmp_path, "intel-rapl:0:0", "core", 50)
    domain(tmp_path, "intel-rapl:1", "package-1", 200)
    domain(tmp_path, "intel-rapl:2", "psys", 999)
    return tmp_path


@pytest.fixture(autouse=True)
def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SHORTEST", 0.0)


def test_only_packages_are_counted(root: Path) -> None:
    assert [counter.energy.parent.name for counter in rapl_counters(root)] == ["intel-rapl:0", "intel-rapl:1"]


def test_measured(root: Path) -> None:
    with EnergyMeter(MODEL, counters=rapl_counters(root)) as meter:
        (root / "intel-rapl:0" / "energy_uj").write_text("500100")
        (root / "intel-rapl:1" / "energy_uj").write_text("300200")
    assert meter.reading is not None
    assert meter.reading.source == "measured"
    assert meter.reading.joules.median == pytest.approx(0.8, rel=1e-6, abs=0.0)


def test_wrap_around(root: Path) -> None:
    file = root / "intel-rapl:0" / "energy_uj"
    file.write_text("999900")
    with EnergyMeter(counters=[RaplCounter(file, 1_000_000)]) as meter:
        file.write_text("400")
    assert meter.reading is not None
    assert meter.reading.joules.median == pytest.approx(500e-6, rel=1e-6, abs=0.0)


def test_unreadable_counters_are_not_counters(root: Path) -> None:
    (root / "intel-rapl:0" / "energy_uj").unlink()
    (root / "intel-rapl:1" / "energy_uj").write_text("not a number")
    assert rapl_counters(root) == ()
    assert rapl_counters(root / "absent") == ()


def test_a_counter_that_fails_or_stands_still_is_no_measurement(root: Path) -> None:
    counters = rapl_counters(root)
    with EnergyMeter(MODEL, counters=counters) as meter:
        pass
    assert meter.reading is not None
    assert meter.reading.source == "modelled"
    with EnergyMeter(MODEL, counters=counters) as meter:
        (root / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.reading is not None
    assert meter.reading.source == "modelled"


def test_too_short_for_a_counter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SHORTEST", 10.0)
    with EnergyMeter(MODEL, counters=rapl_counters(root)) as meter:
        (root / "intel-rapl:0" / "energy_uj").write_text("500100")
    assert meter.reading is not None
    assert meter.reading.source == "modelled"


def test_neither_counter_nor_model() -> None:
    with EnergyMeter(counters=()) as meter:
        pass
    assert meter.reading is None


def test_modelled_counts_time_and_work() -> None:
    work = Work((KernelCall("gemm", (100, 100, 100), "float64", "scipy", 5.0),))
    with EnergyMeter(MODEL, work, counters=()) as meter:
        time.sleep(0.02)
    assert meter.reading is not None
    assert meter.reading.source == "modelled"
    joules = meter.reading.joules
    assert joules.median >= 10.0 * 0.02 + 5 * 2e6 * 1e-9
    assert joules.high == pytest.approx(1.5 * joules.median, rel=1e-6, abs=0.0)
    assert energy.modelled(MODEL, 2.0, work).median == pytest.approx(20.0 + 0.01, rel=1e-6, abs=0.0)


def test_calibration_recovers_the_coefficients() -> None:
    truth = lambda s, f64, f32, b: 30.0 * s + 2e-11 * f64 + 8e-12 * f32 + 5e-11 * b  # noqa: E731
    runs = [(1.0, 0.0, 0.0, 0.0), (2.0, 1e12, 0.0, 1e9), (0.5, 0.0, 8e11, 1e9), (1.0, 0.0, 0.0, 2e10)]
    model = calibrated(
        [Sample(s, truth(s, f64, f32, b), {"float64": f64, "float32": f32}, b) for s, f64, f32, b in runs]
    )
    assert model.source == "calibrated"
    assert model.idle_watts == pytest.approx(30.0, rel=1e-6, abs=0.0)
    assert model.joules_per_flop == pytest.approx({"float64": 2e-11, "float32": 8e-12}, rel=1e-6, abs=0.0)
    assert model.joules_per_byte == pytest.approx(5e-11, rel=1e-6, abs=0.0)
    with pytest.raises(ValueError, match="samples: none given"):
        calibrated([])


def test_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured, else carried over, else rated power; each says which it is."""
    tables = [table_of("gemm", lambda m, n, k: 2 * m * n * k / 1e11), table_of("copy", lambda m, n: 16 * m * n / 2e10)]
    bottom = energy_model(tables, FINGERPRINT, counters=())
    assert bottom.source == "tdp-model"
    # At the peak rate of products the two threads draw what they are rated for: 4 W each, and two memory modules.
    watts = bottom.idle_watts + 1e11 * bottom.joules_per_flop["float64"]
    assert watts == pytest.approx(2 * 4.0 + 2 * 5.0, rel=0.01, abs=0.0)
    assert bottom.joules_per_byte == pytest.approx(4.0 / 2e10, rel=0.01, abs=0.0)
    assert bottom.relative_uncertainty >= 1.0

    carried = energy_model(
        tables, FINGERPRINT, counters=(), carried_over=MODEL.model_copy(update={"source": "measured"})
    )
    assert carried.source == "calibrated"
    assert energy_model(tables, FINGERPRINT, counters=(), carried_over=bottom).source == "tdp-model"

    class Steady:
        """A counter of a machine that draws 25 W."""

        def read(self) -> float:
            return 25.0 * time.perf_counter()

        def between(self, before: float, after: float) -> float:
            return after - before

    monkeypatch.setattr(energy, "SHORTEST", 0.01)
    top = energy_model(tables, FINGERPRINT, counters=[Steady()])
    assert top.source == "measured"
    assert top.idle_watts == pytest.approx(25.0, rel=0.1, abs=0.0)


def test_nvml_is_guarded() -> None:
    assert isinstance(energy.nvml_counters(), tuple)
