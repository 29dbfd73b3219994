"""Pricing: synthetic machines whose truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from autonla.cost_models._fit import TableFit
from autonla.cost_models.price import ASLEEP, Pool, Unpriced, price, seconds_of, table_fit
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.work import Calls, KernelCall, Work
from autonla.profiles import EnergyModel, HardwareProfile, KernelPoint, KernelTable

from .machines import profile_of, table_of


def roofline(name: str, overhead: float = 2e-6, rate: float = 5e10, bandwidth: float = 1e10) -> Callable[..., float]:
    kernel = KERNELS[name]
    return lambda *dims: overhead + kernel.flops(*dims) / rate + kernel.bytes_moved(*dims) / bandwidth


UNSEEN = {
    "gemm": [(300, 300, 300), (1500, 30, 1500), (50000, 10, 100), (70, 70, 70)],
    "syrk": [(3000, 100), (50000, 60), (700, 300)],
    "getrf": [(150,), (700,), (3000,)],
    "gelsd": [(3000, 150, 1), (700, 400, 1)],
    "gesdd": [(1500, 150), (300, 300)],
    "stream": [(3000, 300), (50000, 100)],
}


@pytest.mark.parametrize("name", UNSEEN)
def test_interpolates_a_roofline(name: str) -> None:
    truth = roofline(name)
    profile = profile_of(table_of(name, truth))
    for dims in UNSEEN[name]:
        estimate = seconds_of(name, dims, "float64", "scipy", profile)
        assert estimate.median == pytest.approx(truth(*dims), rel=0.12, abs=0.0), dims
        assert estimate.low <= truth(*dims) <= estimate.high, dims


@pytest.mark.parametrize("name", ["gemm", "gemv", "potrf", "stream"])
def test_exact_when_the_model_is(name: str) -> None:
    """Time is a combination of the kernel's own terms: a few per cent, also beyond the grid."""
    kernel = KERNELS[name]
    truth = lambda *dims: 1e-6 + sum(kernel.terms(*dims)) / 1e10 + kernel.bytes_moved(*dims) / 1e10  # noqa: E731
    profile = profile_of(table_of(name, truth))
    for dims in [tuple(3 * d for d in shape) for shape in kernel.grid("quick")]:
        assert seconds_of(name, dims, "float64", "scipy", profile).median == pytest.approx(
            truth(*dims), rel=0.05, abs=0.0
        )


@pytest.mark.parametrize("name", ["gemm", "syrk", "getrf", "qr", "gelsd", "gesdd", "copy"])
def test_grows_with_every_dimension(name: str) -> None:
    kernel = KERNELS[name]
    profile = profile_of(table_of(name, roofline(name)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        dims = tuple(int(d) for d in np.exp(rng.uniform(np.log(5), np.log(5000), len(kernel.dims))))
        base = seconds_of(name, dims, "float64", "scipy", profile).median
        for i in range(len(dims)):
            larger = (*dims[:i], 2 * dims[i], *dims[i + 1 :])
            assert seconds_of(name, larger, "float64", "scipy", profile).median > 0.98 * base


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["gemm", "syrk", "geqrf", "gelsd"])
def test_intervals_cover_an_uneven_machine(name: str) -> None:
    """Efficiency that varies smoothly by a factor of two, and noise of 5 %: at least 80 % of 90 % intervals cover."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(20):
        phase = rng.uniform(0.0, 2.0 * math.pi, len(kernel.dims))

        def truth(*dims: int, phase: np.ndarray = phase) -> float:
            wave = sum(math.sin(0.7 * math.log(d) + p) for d, p in zip(dims, phase, strict=True)) / len(dims)
            return roofline(name)(*dims) * math.exp(0.35 * wave)

        table = table_of(name, lambda *dims: truth(*dims) * math.exp(0.05 * rng.standard_normal()), spread=0.13)
        profile = profile_of(table)
        for dims in itertools.chain(UNSEEN["gemm" if name == "gemm" else "syrk"]):
            shape = (*dims, 1)[: len(kernel.dims)]
            estimate = seconds_of(name, shape, "float64", "scipy", profile)
            covered.append(estimate.low <= truth(*shape) <= estimate.high)
    assert np.mean(covered) >= 0.8


def test_interval_of_a_sum_is_as_wide_as_its_parts() -> None:
    profile = profile_of(table_of("gemm", roofline("gemm"), spread=0.3))
    k = Calls("scipy", "float64")
    one = price(Work((k("gemm", 300, 300, 300),)), profile)
    many = price(Work(tuple(k("gemm", 300, 300, 300) for _ in range(50))), profile)
    assert many.seconds.median == pytest.approx(50 * one.seconds.median, rel=1e-6, abs=0.0)
    assert many.seconds.sigma == pytest.approx(one.seconds.sigma, rel=1e-6, abs=0.0)


def test_synchronizations_are_waited_for_one_by_one() -> None:
    profile = profile_of(table_of("gemm", lambda m, n, k: 1e-3))
    work = Work((Calls("scipy", "float64")("gemm", 100, 100, 100, count=4.0),), reductions=50.0)
    alone, waiting = price(work, profile), price(work, profile.with_reductions(1e-3))
    assert waiting.seconds.median == pytest.approx(alone.seconds.median + 0.05, rel=1e-12, abs=0.0)
    assert waiting.seconds.low < waiting.seconds.median < waiting.seconds.high
    assert waiting.calls == alone.calls
    assert (work + work).reductions == 100.0
    assert work.holding(8.0).reductions == 50.0
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="reduction"):
            profile.with_reductions(wrong)


def test_count_and_breakdown() -> None:
    profile = profile_of(table_of("gemm", roofline("gemm")), table_of("gemv", roofline("gemv")))
    k = Calls("scipy", "float64")
    work = Work((k("gemm", 100, 100, 100), k("gemv", 1000, 100, count=7.5)))
    result = price(work, profile)
    assert [call for call, _ in result.calls] == list(work.calls)
    assert sum(seconds for _, seconds in result.calls) == pytest.approx(result.seconds.median, rel=1e-6, abs=0.0)
    single = seconds_of("gemv", (1000, 100), "float64", "scipy", profile).median
    assert result.calls[1][1] == pytest.approx(7.5 * single, rel=1e-6, abs=0.0)


def test_uncertainty_grows_away_from_the_points() -> None:
    profile = profile_of(table_of("getrf", roofline("getrf")))
    inside = seconds_of("getrf", (1000,), "float64", "scipy", profile)
    outside = seconds_of("getrf", (100_000,), "float64", "scipy", profile)
    assert outside.sigma > 2 * inside.sigma


def test_noisy_points_are_uncertain() -> None:
    quiet, noisy = (profile_of(table_of("getrf", roofline("getrf"), spread=s)) for s in (0.02, 0.8))
    sigmas = [seconds_of("getrf", (500,), "float64", "scipy", p).sigma for p in (quiet, noisy)]
    assert sigmas[1] > 2 * sigmas[0]


def test_scale_multiplies_time() -> None:
    profile = profile_of(table_of("gemm", roofline("gemm")))
    slower = profile.with_scale(3.0)
    a, b = (seconds_of("gemm", (200, 200, 200), "float64", "scipy", p) for p in (profile, slower))
    assert b.median == pytest.approx(3.0 * a.median, rel=1e-6, abs=0.0)
    assert b.sigma == pytest.approx(a.sigma, rel=1e-6, abs=0.0)


def test_reasons() -> None:
    wrong = KernelTable(
        kernel="potrf", backend="torch", dtype="float32", threads=2, points=(), enabled=False, reason="it is wrong"
    )
    profile = profile_of(table_of("gemm", roofline("gemm")), wrong)
    with pytest.raises(Unpriced, match="potrf in float32 with torch is disabled: it is wrong"):
        price(Work((KernelCall("potrf", (10,), "float32", "torch"),)), profile)
    with pytest.raises(Unpriced, match="gemm in float64 with cupy has not been measured") as caught:
        price(Work((KernelCall("gemm", (10, 10, 10), "float64", "cupy"),)), profile)
    assert caught.value.reason.endswith("on this machine")
    with pytest.raises(Unpriced, match="on cuda"):
        seconds_of("gemm", (10, 10, 10), "float64", "scipy", profile, device="cuda")
    with pytest.raises(Unpriced, match="no kernel 'gemmm'"):
        price(Work((KernelCall("gemmm", (10, 10, 10), "float64", "scipy"),)), profile)


def test_threads_choose_the_table() -> None:
    one, four = (table_of("gemm", roofline("gemm", rate=r), threads=t) for t, r in ((1, 1e10), (4, 4e10)))
    profile = profile_of(one, four)
    work = Work((KernelCall("gemm", (1000, 1000, 1000), "float64", "scipy"),))
    assert price(work, profile).seconds.median == pytest.approx(
        price(work, profile, threads=4).seconds.median, rel=1e-6, abs=0.0
    )
    ratio = price(work, profile, threads=1).seconds.median / price(work, profile).seconds.median
    assert ratio == pytest.approx(4.0, rel=0.1, abs=0.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_tables(count: int) -> None:
    """What a time limit has left: sane, and not sure of itself."""
    truth = roofline("gemm")
    points = [KernelPoint(dims=(n, n, n), seconds=truth(n, n, n), spread=0.05, repeats=3) for n in (50, 500, 200)]
    table = KernelTable(kernel="gemm", backend="scipy", dtype="float64", threads=2, points=tuple(points[:count]))
    estimate = seconds_of("gemm", (1000, 1000, 1000), "float64", "scipy", profile_of(table))
    assert estimate.low < truth(1000, 1000, 1000) < estimate.high * 4
    assert estimate.sigma > 0.3
    for point in table.points:
        assert seconds_of("gemm", point.dims, "float64", "scipy", profile_of(table)).median == pytest.approx(
            point.seconds, rel=0.1, abs=0.0
        )


def test_joules_follow_the_model() -> None:
    energy = EnergyModel(
        source="calibrated", idle_watts=10.0, joules_per_flop={"float64": 1e-10}, joules_per_byte=1e-9,
        relative_uncertainty=0.5,
    )  # fmt: skip
    profile = profile_of(table_of("gemm", roofline("gemm")), energy=energy)
    result = price(Work((KernelCall("gemm", (500, 500, 500), "float64", "scipy"),)), profile)
    truth = 10.0 * result.seconds.median + 2.5e8 * 1e-10 + 3 * 250_000 * 8 * 1e-9
    assert result.joules.median == pytest.approx(truth, rel=1e-6, abs=0.0)
    assert result.joules.low <= truth / 1.5
    assert result.joules.high >= truth * 1.5


def test_left_out_errors_are_those_of_a_refit() -> None:
    """The analytic leave-one-out error agrees with really leaving a point out."""
    rng = np.random.default_rng(3)
    truth = roofline("syrk")
    table = table_of("syrk", lambda *dims: truth(*dims) * math.exp(0.2 * rng.standard_normal()))
    analytic = table_fit(table).left_out
    refitted = []
    for i, point in enumerate(table.points):
        rest = table.model_copy(update={"points": table.points[:i] + table.points[i + 1 :]})
        refitted.append(math.log(point.seconds / table_fit(rest)(point.dims)[0]))
    rms = [math.sqrt(sum(e * e for e in errors) / len(errors)) for errors in (analytic, refitted)]
    assert rms[0] == pytest.approx(rms[1], rel=0.35, abs=0.0)


def test_tables_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitting takes a hundred times longer than pricing: rescaled copies of a profile share the fits."""
    from autonla.cost_models import price as module

    fitted = []
    monkeypatch.setattr(module, "TableFit", lambda table, kernel: fitted.append(table.key) or TableFit(table, kernel))
    profile = profile_of(table_of("gemm", roofline("gemm")), table_of("gemv", roofline("gemv")))
    k = Calls("scipy", "float64")
    for i in range(5):
        price(Work((k("gemm", 100 + i, 100, 100), k("gemv", 100, 100))), profile.with_scale(1.0 + i))
    assert len(fitted) == 2


# -- Threads of another library that spin on -------------------------------------------------------------------------


def product(backend: str, n: int = 500) -> KernelCall:
    return KernelCall("gemm", (n, n, n), "float64", backend)


@pytest.fixture
def pools() -> HardwareProfile:
    table = table_of("gemm", roofline("gemm"))
    tables = [table.model_copy(update={"backend": backend}) for backend in ("scipy", "torch")]
    sketch = table_of("sparse_sign", roofline("sparse_sign")).model_copy(update={"backend": "numba"})
    return profile_of(*tables, sketch, table_of("stream", roofline("stream"))).model_copy(
        update={"pool_switch_seconds": {"scipy>torch": 0.03, "scipy>numba": 0.02}}
    )


def seconds(profile: HardwareProfile, *calls: KernelCall, pool: Pool = ASLEEP) -> float:
    return price(Work(calls), profile, pool=pool).seconds.median


def test_switching_to_another_pool_costs_what_was_measured(pools) -> None:
    scipy, torch = product("scipy"), product("torch")
    alone = seconds(pools, torch)
    assert seconds(pools, scipy, scipy) == pytest.approx(2 * seconds(pools, scipy), rel=1e-6, abs=0.0)
    assert seconds(pools, scipy, torch) == pytest.approx(
        seconds(pools, scipy) + 5.0 * alone, rel=1e-6, abs=0.0
    )  # four times itself
    many = [torch] * 20
    assert seconds(pools, scipy, *many) == pytest.approx(seconds(pools, scipy) + 20 * alone + 0.03, rel=1e-6, abs=0.0)
    assert seconds(pools, torch, scipy) == pytest.approx(
        seconds(pools, scipy) + alone, rel=1e-6, abs=0.0
    )  # torch's threads do not spin


def test_who_is_awake_is_handed_on(pools) -> None:
    after = price(Work((product("scipy"),)), pools).pool
    assert after.backend == "scipy"
    assert seconds(pools, product("torch"), pool=after) > seconds(pools, product("torch"))
    assert seconds(pools, product("scipy"), pool=after) == seconds(pools, product("scipy"))


def test_what_runs_on_one_thread_neither_loses_nor_wakes(pools) -> None:
    awake = Pool("scipy")
    for call in (product("torch", 20), KernelCall("stream", (3000, 300), "float64", "scipy")):
        priced = price(Work((call,)), pools, pool=awake)
        assert priced.seconds.median == seconds(pools, call)
        assert priced.pool == awake


def test_a_sketch_loses_time_beside_a_pool_and_leaves_it_awake(pools) -> None:
    sketch = KernelCall("sparse_sign", (100000, 200, 800, 8), "float64", "numba")
    priced = price(Work((sketch, sketch)), pools, pool=Pool("scipy"))
    assert priced.seconds.median == pytest.approx(2 * seconds(pools, sketch) + 2 * 0.02, rel=1e-6, abs=0.0)
    assert priced.pool.backend == "scipy"


def test_a_profile_that_did_not_measure_it_charges_nothing(pools) -> None:
    unmeasured = pools.model_copy(update={"pool_switch_seconds": {}})
    assert seconds(unmeasured, product("torch"), pool=Pool("scipy")) == seconds(unmeasured, product("torch"))


def test_no_kernel_is_much_faster_than_the_best_product() -> None:
    """A factorization that was measured at small shapes only, where its time does not grow."""
    points = tuple(KernelPoint(dims=(n,), seconds=1e-5, spread=0.0, repeats=5) for n in (10, 20, 50, 100))
    flat = KernelTable(kernel="getrf", backend="scipy", dtype="float64", threads=2, points=points)
    profile = profile_of(flat, table_of("gemm", roofline("gemm", rate=1e11)))
    n = 8000
    peak = max(KERNELS["gemm"].flops(*p.dims) / p.seconds for p in profile.kernels[1].points)
    assert seconds_of("getrf", (n,), "float64", "scipy", profile).median >= 0.5 * KERNELS["getrf"].flops(n) / peak
