"""Measuring: small catalogues end to end, the gate, the time limit. No time is asserted."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from autonla.cost_models import _timing, measure
from autonla.cost_models.generic import generic_profile
from autonla.cost_models.measure import measure_profile
from autonla.cost_models.price import Unpriced, price, seconds_of
from autonla.cost_models.spot_check import spot_check
from autonla.primitives.kernels._grids import Shapes
from autonla.primitives.kernels.catalogue import KERNELS, Kernel
from autonla.primitives.work import KernelCall, Work
from autonla.profiles import HardwareProfile, generic, loads
from autonla.profiles.store import dumps

from .machines import profile_of, table_of


def shapes(*dims: tuple[int, ...]) -> Shapes:
    return {"quick": dims, "standard": dims, "thorough": dims}


def small(name: str, *dims: tuple[int, ...]) -> Kernel:
    return replace(KERNELS[name], shapes=shapes(*dims))


CATALOGUE: Mapping[str, Kernel] = {
    "gemm": replace(small("gemm", (8, 8, 8), (40, 20, 30), (5, 50, 10)), dtypes=("float64", "float32")),
    "copy": small("copy", (10, 10), (100, 50)),
}


@pytest.fixture(scope="module")
def tiny() -> HardwareProfile:
    return measure_profile(kernels=CATALOGUE, backends=("scipy", "numpy"), name="tiny")


def test_end_to_end(tiny: HardwareProfile) -> None:
    assert tiny.name == "tiny"
    assert tiny.complete
    assert tiny.rigor == "quick"
    keys = {table.key[:2] + table.key[3:4] for table in tiny.kernels}
    assert keys == {(k, b, d) for k in CATALOGUE for b in ("scipy", "numpy") for d in ("float64", "float32")}
    for table in tiny.kernels:
        assert {point.dims for point in table.points} == set(CATALOGUE[table.kernel].shapes["quick"])
        assert all(point.repeats >= 3 and 1e-8 < point.seconds < 1.0 for point in table.points)
        assert table.max_error is not None
        assert table.max_error < KERNELS[table.kernel].tolerance(table.dtype)
    assert 0 < tiny.python_overhead_seconds < 1e-2
    assert set(tiny.pool_switch_seconds) == {"scipy>numpy", "numpy>scipy"}
    assert all(loss >= 0.0 for loss in tiny.pool_switch_seconds.values())
    assert tiny.energy.source in ("measured", "tdp-model")
    assert loads(dumps(tiny)) == tiny


def test_what_was_measured_can_be_priced(tiny: HardwareProfile) -> None:
    work = Work(
        (KernelCall("gemm", (20, 20, 20), "float64", "numpy", 3.0), KernelCall("copy", (50, 50), "float32", "scipy"))
    )
    assert 0 < price(work, tiny).seconds.low < price(work, tiny).seconds.high < math.inf


def test_a_wrong_kernel_is_disabled() -> None:
    def start(setting):
        call = KERNELS["gemm"].start(setting)
        return lambda: call() * 1.01

    wrong = replace(CATALOGUE["gemm"], start=start)
    profile = measure_profile(kernels={"gemm": wrong, "copy": CATALOGUE["copy"]}, backends=("numpy", "scipy"))
    table = profile.table("gemm", "numpy", "float64")
    assert table is not None
    assert not table.enabled
    assert not table.points
    assert table.reason is not None
    assert "relative error 1.0e-02" in table.reason
    copy = profile.table("copy", "numpy", "float64")
    assert copy is not None
    assert copy.enabled
    with pytest.raises(Unpriced, match="is disabled: it is wrong on this machine"):
        seconds_of("gemm", (10, 10, 10), "float64", "numpy", profile)


def test_a_failing_kernel_is_disabled() -> None:
    def start(setting):
        raise RuntimeError('"lu_cpu" not implemented')

    profile = measure_profile(kernels={"gemm": replace(CATALOGUE["gemm"], start=start)}, backends=("numpy",))
    reasons = {table.reason for table in profile.kernels}
    assert reasons == {'it fails on this machine: RuntimeError: "lu_cpu" not implemented'}


def test_a_shape_that_fails_is_left_out() -> None:
    def start(setting):
        if setting.dims[0] == 40:
            raise MemoryError
        return KERNELS["gemm"].start(setting)

    kernel = replace(CATALOGUE["gemm"], start=start, dtypes=("float64",))
    profile = measure_profile(kernels={"gemm": kernel}, backends=("numpy",))
    table = profile.table("gemm", "numpy", "float64")
    assert table is not None
    assert {point.dims for point in table.points} == {(8, 8, 8), (5, 50, 10)}
    assert profile.complete


def test_an_emulated_precision_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_against_float32", lambda table: 3500.0)
    only = {"gemm": replace(CATALOGUE["gemm"], dtypes=("float32", "bfloat16"))}
    profile = measure_profile(kernels=only, backends=("torch",))
    table = profile.table("gemm", "torch", "bfloat16")
    assert table is not None
    assert table.reason == "bfloat16 is emulated on this machine: 3500 times slower than float32"
    assert profile.complete


def test_time_limit_cuts_the_least_important() -> None:
    """A kernel whose listed shapes take ever longer: the limit leaves out the end of the list, and says so."""
    import time

    def start(setting):
        seconds = 0.02 * setting.dims[0] / 10
        return lambda: time.sleep(seconds)

    dims = tuple((10 * i, 1) for i in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
    slow = replace(small("copy", *dims), start=start, error=lambda trial: 0.0)
    profile = measure_profile(kernels={"copy": slow}, backends=("scipy",), time_limit=2.0)
    table = profile.table("copy", "scipy", "float64")
    assert table is not None
    assert not profile.complete
    done = [point.dims for point in table.points]
    assert set(done) == set(dims[: len(done)])
    assert 3 <= len(done) < len(dims)


def test_progress_rises_to_one() -> None:
    heard: list[tuple[float, str]] = []
    measure_profile(
        kernels=CATALOGUE, backends=("numpy",), progress=lambda fraction, text: heard.append((fraction, text))
    )
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert any("numpy gemm float64" in text for _, text in heard)


def test_unknown_rigor() -> None:
    with pytest.raises(ValueError, match="rigor: found 'fast', choose one of quick, standard, thorough"):
        measure_profile("fast")


def test_disturbed_samples_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread waits for its processor, what is timed does not count."""
    waited = iter([0.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(_timing, "waited_for_processor", lambda: next(waited))
    assert _timing.samples(lambda: None, 1e-4)[1]
    assert not _timing.samples(lambda: None, 1e-4)[1]
    point = measure._Point((1,), 0, clean=[1.0], disturbed=[9.0, 9.0])
    assert point.samples == [1.0]
    assert measure._summary(point).seconds == 1.0


def test_summary_is_robust() -> None:
    point = measure._Point((1,), 0, clean=[1.0] * 18 + [50.0, 60.0])
    summary = measure._summary(point)
    assert summary.seconds == 1.0
    assert summary.repeats == 20


def test_generic_profile() -> None:
    """It ships, covers the libraries, prices the catalogue, and names no machine."""
    profile = generic()
    assert profile.rigor == "generic"
    assert "generic" in profile.fingerprint.processor
    assert not profile.fingerprint.environment
    assert not profile.fingerprint.devices
    assert len(dumps(profile)) < 400_000
    for name, kernel in KERNELS.items():
        for backend in ("scipy", "numpy", "torch", "numba"):
            if kernel.supports(backend, "float64"):
                for dims in kernel.grid("quick")[:3]:
                    estimate = seconds_of(name, dims, "float64", backend, profile)
                    assert 1e-8 < estimate.low <= estimate.median <= estimate.high < 100.0


def test_making_a_profile_generic(tiny: HardwareProfile) -> None:
    result = generic_profile(tiny)
    assert result.rigor == "generic"
    assert result.kernels == tiny.kernels
    assert result.fingerprint.processor == f"generic {tiny.fingerprint.architecture}"
    text = dumps(result).decode()
    assert tiny.fingerprint.processor not in text
    assert tiny.fingerprint.operating_system not in text


def test_spot_check_finds_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every call takes 0.3 ms, against profiles that say 0.1, 0.15 and 0.2."""
    monkeypatch.setattr(_timing, "timed", lambda call: 3e-4)
    monkeypatch.setattr(_timing, "waited_for_processor", lambda: 0.0)
    says = {"gemm": 1e-4, "syrk": 1.5e-4, "stream": 2e-4}
    profile = profile_of(*(table_of(name, lambda *dims, t=seconds: t) for name, seconds in says.items()))
    check = spot_check(profile)
    assert dict(check.timed) == pytest.approx(
        {name: 3e-4 / seconds for name, seconds in says.items()}, rel=1e-6, abs=0.0
    )
    assert check.factor == pytest.approx((3.0 * 2.0 * 1.5) ** (1.0 / 3.0), rel=1e-6, abs=0.0)
    assert check.max_deviation == pytest.approx(3.0 / check.factor, rel=0.4, abs=0.0)
    assert check.drifted
    assert not spot_check(profile.with_scale(check.factor)).drifted


def test_spot_check_of_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed while other programs have the processors says nothing about the machine."""
    waited = iter(range(10_000))
    monkeypatch.setattr(_timing, "waited_for_processor", lambda: float(next(waited)))
    check = spot_check(profile_of(table_of("gemm", lambda *dims: 1e-4)).with_scale(1.3))
    assert check.disturbed == 1
    assert check.factor == 1.3
    assert not check.drifted


def test_spot_check_without_anything_to_compare() -> None:
    check = spot_check(profile_of(table_of("getrs", lambda *dims: 1e-4)).with_scale(2.0))
    assert check.factor == 2.0
    assert not check.timed
    assert not check.drifted


def test_the_global_random_state_is_left_alone() -> None:
    def state() -> list[int]:
        return np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002

    before = state()
    measure_profile(kernels=CATALOGUE, backends=("numpy",))
    assert state() == before


@pytest.mark.parametrize("collecting", [True, False])
def test_the_garbage_collector_is_left_as_it_was(collecting: bool) -> None:
    was = gc.isenabled()
    seen = []

    def start(setting):
        seen.append(gc.isenabled())
        return KERNELS["copy"].start(setting)

    try:
        (gc.enable if collecting else gc.disable)()
        measure_profile(kernels={"copy": replace(CATALOGUE["copy"], start=start)}, backends=("scipy",))
        assert gc.isenabled() == collecting
        assert seen[-1] is False, "nothing is collected while calls are timed"
    finally:
        (gc.enable if was else gc.disable)()


def test_threads_are_those_that_each_library_computes_with() -> None:
    import numba
    import torch

    assert measure.threads_in_use("torch") == torch.get_num_threads()
    assert measure.threads_in_use("numba") == numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
    assert measure.threads_in_use("cupy") == 1
    assert measure.threads_in_use("numpy") == measure.threads_in_use("scipy") >= 1


def test_what_a_library_does_not_have_is_no_table() -> None:
    profile = measure_profile(kernels={**CATALOGUE, "sparse_sign": KERNELS["sparse_sign"]}, backends=("numpy",))
    assert {table.kernel for table in profile.kernels} == set(CATALOGUE)
    assert profile.complete


def test_a_reduced_precision_is_timed_beside_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of many calls where they are short, one where they are long: an emulation takes for ever."""
    calls: dict[str, int] = {}
    seconds = {"float32": 0.001, "bfloat16": 0.004}

    def start(setting):
        def call() -> float:
            calls[setting.dtype] = calls.get(setting.dtype, 0) + 1
            return seconds[setting.dtype] * (2.0 if calls[setting.dtype] == 2 else 1.0)  # the first that is timed

        return call

    monkeypatch.setattr(_timing, "timed", lambda call: call())
    monkeypatch.setattr(_timing, "synchronous", lambda call, backend, device: call)
    table = measure._Table(replace(CATALOGUE["gemm"], start=start), "torch", "cpu", "bfloat16", [])
    assert measure._against_float32(table) == pytest.approx(4.0, rel=1e-12, abs=0.0)
    assert calls == {"bfloat16": 22, "float32": 22}
    calls.clear()
    seconds["bfloat16"] = 0.1
    assert measure._against_float32(table) == pytest.approx(200.0, rel=1e-12, abs=0.0)
    assert calls == {"bfloat16": 2, "float32": 22}


def test_a_kernel_that_fails_at_every_shape_is_disabled() -> None:
    """It passed the gate, whose problem is another one."""
    shapes = CATALOGUE["gemm"].shapes["quick"]

    def start(setting):
        if setting.dims in shapes:
            raise MemoryError("no room")
        return KERNELS["gemm"].start(setting)

    kernel = replace(CATALOGUE["gemm"], start=start, dtypes=("float64",))
    (table,) = measure_profile(kernels={"gemm": kernel}, backends=("numpy",)).kernels
    assert table.max_error is not None
    assert not table.enabled
    assert table.reason == "it fails on this machine: MemoryError: no room"


def test_what_no_time_was_left_for_is_missing_not_wrong() -> None:
    profile = measure_profile(kernels=CATALOGUE, backends=("numpy",), time_limit=0.0)
    assert profile.kernels == ()
    assert not profile.complete


def test_what_numpy_computes_in_float64_is_measured_once() -> None:
    profile = measure_profile(kernels={"potrf": small("potrf", (8,), (20,))}, backends=("numpy",))
    double, single = profile.kernels
    assert (double.dtype, single.dtype) == ("float64", "float32")
    assert double.points == single.points


def test_memory_is_touched_before_what_takes_much_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(measure.np, "ones", lambda size, dtype: written.append((size, dtype)))
    measure._touch_memory(measure._LARGE)
    assert written == []
    measure._touch_memory(measure._LARGE + 1.5)
    assert written == [(measure._LARGE + 1, np.uint8)]
