"""Training of AutoSpec: the spectra, what is minimized, that it is reproducible; what the shipped engines reach."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from autonla.planner.autospec import functions, linear_systems, operators, training
from autonla.planner.autospec.__main__ import main
from autonla.primitives.autospec import linear_systems as inference
from autonla.primitives.autospec.network import DATA, perceptron, read
from autonla.primitives.polynomials import chebyshev, forecast
from autonla.primitives.polynomials.functions import minimax

# --- spectra


@pytest.mark.parametrize("family", range(6))
def test_every_family_makes_finite_eigenvalues_of_which_hardly_any_is_negative(family):
    make = operators._FAMILIES[family]
    for seed in range(5):
        values = make(np.random.default_rng(seed))
        assert np.isfinite(values).all()
        assert values.min() >= -1e-12 * values.max()
        assert len(values) >= 30


def test_a_spectrum_is_positive_ascending_with_the_largest_at_one_and_not_worse_than_1e7():
    for seed in range(60):
        nodes, counts = operators.spectrum(np.random.default_rng(seed))
        assert len(nodes) == len(counts) <= operators.NODES
        assert (np.diff(nodes) >= 0.0).all()
        assert nodes[-1] == pytest.approx(1.0, rel=1e-12)
        assert nodes[0] >= 0.99e-7
        assert (counts >= 1.0).all()


def test_merging_keeps_the_ends_the_number_and_the_sum_of_eigenvalues():
    values = np.sort(np.random.default_rng(0).uniform(size=20_000))
    nodes, counts = operators._merged(values)
    assert len(nodes) == operators.NODES
    assert counts.sum() == 20_000
    assert (nodes * counts).sum() == pytest.approx(values.sum(), rel=1e-12)
    np.testing.assert_array_equal(nodes[:96], values[:96])
    np.testing.assert_array_equal(nodes[-32:], values[-32:])
    few = values[::100]
    np.testing.assert_array_equal(operators._merged(few)[0], few)


def test_merged_spectra_need_as_many_iterations_as_the_whole_ones():
    values = np.sort((np.linspace(0.001, 1.0, 70)[:, None] + np.linspace(0.001, 1.0, 70)[None, :]).ravel())
    nodes, counts = operators._merged(values)
    rng = np.random.default_rng(1)
    whole = forecast.cg_iterations(values, np.ones((4900, 1)), 1e-10, 2000, rng.standard_normal(4900))[0]
    merged = forecast.cg_iterations(nodes, np.ones((512, 1)), 1e-10, 2000, np.sqrt(rng.chisquare(counts)))[0]
    assert merged == pytest.approx(whole, rel=0.05)


# --- linear systems


@pytest.fixture(scope="module")
def few() -> list[linear_systems.Sample]:
    return linear_systems.dataset(5, 40)


def test_samples_are_the_same_for_the_same_seed(few):
    again = linear_systems.dataset(5, 3)
    for one, other in zip(few[:3], again, strict=True):
        np.testing.assert_array_equal(one.nodes, other.nodes)
        np.testing.assert_array_equal(one.given.features, other.given.features)
    assert not np.array_equal(linear_systems.dataset(6, 1)[0].nodes, few[0].nodes)


def test_zeros_in_torch_are_those_of_the_recurrence_that_is_run(few):
    change = 0.4 * np.cos(np.arange(13.0))
    for one in few[:5]:
        theta = linear_systems.zeros(
            torch.from_numpy(one.given.gaps)[None], torch.from_numpy(change)[None],
            torch.tensor([one.given.end], dtype=torch.float64),
        )  # fmt: skip
        p = inference.recurrence(one.given, change)
        x = np.linspace(0.01, 0.99, 40) * one.given.end
        residual = linear_systems.residual(torch.from_numpy(x)[None], theta)[0].numpy()
        np.testing.assert_allclose(1.0 - x * p(x), residual, atol=1e-8 * np.abs(residual).max())


def test_iterations_in_torch_are_those_of_the_forecasts(few):
    data = linear_systems.arrays(few)
    for i, one in enumerate(few):
        p = inference.recurrence(one.given, np.zeros(13))(one.nodes)
        p = np.maximum(p * one.nodes, 1e-6) / one.nodes
        count = forecast.cg_iterations(one.nodes, p[:, None], 1e-10, 400, one.start)[0]
        if count <= linear_systems.MOST:
            assert abs(int(data.steps[i]) - math.ceil(count)) <= 1
        else:
            assert int(data.steps[i]) == linear_systems.MOST


def test_no_change_is_no_gain_and_a_worse_polynomial_a_loss(few):
    data = linear_systems.arrays(few)
    everything = torch.arange(len(few))
    still = torch.zeros_like(data.gaps)
    gain, wrong = linear_systems.judged(data, everything, still)
    np.testing.assert_allclose(gain.numpy(), 0.0, atol=1e-12)
    moved = still.clone()
    moved[:, 0] = 2.5  # all zeros away from the small eigenvalues
    worse, _ = linear_systems.judged(data, everything, moved)
    assert worse.median() > 0.1
    assert bool((wrong >= 0.0).all())


def test_a_polynomial_that_is_negative_between_two_zeros_is_penalized(few):
    data = linear_systems.arrays(few)
    wide = torch.zeros_like(data.gaps)
    wide[:, 5] = 2.9  # a gap twenty times as wide
    _, wrong = linear_systems.judged(data, torch.arange(len(few)), wide)
    assert wrong.median() > 0.01
    assert (wrong > 0.0).double().mean() > 0.7  # in some spectra the start has a narrow gap there


def test_batches_hold_every_sample_once_with_about_as_many_iterations():
    steps = torch.from_numpy(np.random.default_rng(0).integers(2, 64, 1000))
    found = linear_systems.batches(steps, 64, np.random.default_rng(1))
    assert sorted(torch.cat(found).tolist()) == list(range(1000))
    spread = [math.log(float(steps[part].max()) / float(steps[part].min())) for part in found]
    assert np.median(spread) < 1.0 < math.log(32.0)


def test_the_pinball_loss_is_least_at_the_quantiles():
    rng = np.random.default_rng(3)
    target = torch.from_numpy(rng.exponential(size=(4000, 2)))
    target[::7, 0] = math.nan  # not known
    best = [-math.log(1.0 - q) for q in (0.5, 0.05, 0.95, 0.9)]

    def at(values: list[float]) -> float:
        return float(linear_systems.pinball(torch.tensor(values, dtype=torch.float64).expand(4000, 4), target))

    for column in range(4):
        for off in (-0.3, 0.3):
            other = list(best)
            other[column] = best[column] + off * (0.1 if best[column] < 0.1 else 1.0)
            assert at(other) > at(best)


# --- functions


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("condition", [5.0, 40.0, 700.0, 3e4])
def test_tables_stand_for_the_best_polynomials(which, condition):
    f = functions.FUNCTIONS[which]
    x = np.geomspace(1.0 / condition, 1.0, 500)
    data = functions.Arrays(
        torch.from_numpy(x[None]), None, torch.tensor([which]), *(
            torch.tensor([value], dtype=torch.float64) for value in (1.0 / condition, 1.0, 0.0)
        ),
    )  # fmt: skip
    exact = torch.full((1, 2), -40.0, dtype=torch.float64)
    excess = math.exp(float(functions.excess(data, torch.arange(1), exact)))
    error = np.abs(f.error(minimax(f, 1.0 / condition, 1.0, 21), x)).max()
    assert excess == pytest.approx(1.0, abs=0.05 if error > 1e-6 else 40.0)


def test_intervals_that_are_too_short_or_too_long_cost_something():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.01, 1.0, 300))
    x[0] = 0.01
    data = functions.Arrays(
        torch.from_numpy(x[None]), None, torch.tensor([0]), *(
            torch.tensor([value], dtype=torch.float64) for value in (0.02, 1.0, 0.0)
        ),
    )  # fmt: skip

    def excess(factor: float) -> float:  # of the interval's beginning over 0.02
        said = math.log(math.expm1(-math.log(factor)))
        return float(functions.excess(data, torch.arange(1), torch.tensor([[said, 0.0]], dtype=torch.float64)))

    assert abs(excess(0.5)) < 0.05
    assert excess(0.98) > 0.5
    assert excess(0.1) > 0.5


# --- training


def quadratic(seed: int, checkpoint: Any = None, epochs: int = 6) -> tuple[Any, list[dict[str, float]]]:
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 3)))
    target = features.sum(1, keepdim=True) ** 2
    settings = training.Settings(rate=0.01, width=16, layers=2, epochs=epochs, batch=16)
    net = training.network(features, 1, settings, seed)
    curve = training.fit(
        net,
        lambda rng: torch.from_numpy(rng.permutation(64)).split(16),
        lambda part: ((training.run(net, features[part]) - target[part]) ** 2).mean(),
        lambda: float(((training.run(net, features) - target) ** 2).mean()),
        settings,
        seed,
        checkpoint=checkpoint,
    )
    return net, curve


def test_training_lowers_the_loss_to_the_same_bits_each_time():
    net, curve = quadratic(1, epochs=20)
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    again, _ = quadratic(1, epochs=20)
    other, _ = quadratic(2, epochs=20)
    first, second, third = ([p.detach().numpy() for p in n.parameters()] for n in (net, again, other))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], third[0])


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole, curve = quadratic(1)
    calls = []

    def stop(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 15:  # in the fourth epoch
            raise KeyboardInterrupt
        return step(self, *args)

    step = torch.optim.AdamW.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            quadratic(1, tmp_path / "net.pt")
    resumed, its = quadratic(1, tmp_path / "net.pt")
    assert its == curve
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_network_kept_is_the_one_of_the_least_held_out_loss():
    features = torch.zeros(4, 2, dtype=torch.float64)
    settings = training.Settings(rate=0.1, width=4, layers=1, epochs=5, batch=4)
    net = training.network(features, 1, settings, 0)
    said = iter([3.0, 1.0, 2.0, 5.0, 4.0])
    seen: list[Any] = []

    def held_out() -> float:
        seen.append({k: v.clone() for k, v in net.state_dict().items()})
        return next(said)

    training.fit(
        net, lambda rng: [torch.arange(4)], lambda part: (net(features[part]) - 3.0).square().mean(), held_out,
        settings, 0,
    )  # fmt: skip
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), seen[1][key].numpy())


def test_weights_written_are_read_as_the_same_function(tmp_path):
    net, curve = quadratic(1)
    training.write(tmp_path, "x", training.weights(net, "x"), {"settings": training.Settings()}, {"x": curve})
    x = np.random.default_rng(5).standard_normal((7, 3))
    with torch.no_grad():
        expected = training.run(net, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(perceptron(read(tmp_path / "x.npz"), "x")(x), expected, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "x.json").read_text())["settings"]["width"] == training.Settings.width
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 1 + len(curve)
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_the_search_finds_the_better_settings_within_their_bounds():
    tried: list[training.Settings] = []

    def objective(settings: training.Settings) -> float:
        tried.append(settings)
        return abs(math.log(settings.rate / 3e-3)) + abs(settings.layers - 2)

    found = training.search(objective, 25, 0, training.Settings(epochs=7))
    assert tried[0] == training.Settings(epochs=7)  # the settings given come first
    assert objective(found) == min(map(objective, tried[:25]))
    assert objective(found) < 0.5 * objective(tried[0])
    assert found.epochs == 7
    assert all(2e-4 <= one.rate <= 5e-3 and 1.0 <= one.penalty <= 100.0 for one in tried)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["linear_systems", "functions"])
def test_the_command_writes_an_engine_that_works(task, tmp_path, capsys):
    arguments = [task, "--out", str(tmp_path), "--samples", "150", "--epochs", "2", "--trials", "2", "--seed", "3"]
    threads = torch.get_num_threads()
    try:
        main(arguments)
        first = read(tmp_path / f"{task}.npz")
        for path in tmp_path.glob("*.pt"):
            path.unlink()
        main(arguments)
    finally:
        torch.set_num_threads(threads)
    for key, value in read(tmp_path / f"{task}.npz").items():
        np.testing.assert_array_equal(value, first[key])
    record = json.loads((tmp_path / f"{task}.json").read_text())
    assert record["samples"] == 150
    assert record["settings"]["epochs"] == 2
    assert "epoch 1" in capsys.readouterr().err


# --- what the shipped engines reach on spectra that they have not seen


@pytest.fixture(scope="module")
def unseen() -> list[linear_systems.Sample]:
    return linear_systems.dataset(20261128, 400)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_shipped_engine_gains_on_most_spectra_and_loses_on_few(unseen):
    engine = inference.engine()
    data = linear_systems.arrays(unseen)
    change = torch.from_numpy(engine.moves(data.features.numpy()))
    with torch.no_grad():
        gain, wrong = linear_systems.judged(data, torch.arange(len(unseen)), change)
    assert gain.median() < -0.03
    assert (gain > 0.02).double().mean() < 0.2
    assert (wrong > 0.0).double().mean() < 0.05
    # no engine: the same test fails
    still, _ = linear_systems.judged(data, torch.arange(len(unseen)), torch.zeros_like(change))
    assert not still.median() < -0.03


@pytest.mark.slow
@pytest.mark.statistical
def test_doubts_hold_what_they_say_to_hold(unseen):
    engine = inference.engine()
    inside, corrected, plain = [], [], []
    for one in unseen[:250]:
        value = linear_systems.ratio(one, inference.recurrence(one.given, engine.moves(one.given.features)))
        if value is None:
            continue
        doubts = engine.doubts(one.given.features)
        inside.append(doubts[1] <= value <= doubts[2])
        corrected.append(abs(value - doubts[0]))
        plain.append(abs(value))
    assert len(inside) > 150
    assert 0.82 < np.mean(inside) < 0.98
    assert np.mean(corrected) < 0.95 * np.mean(plain)


@pytest.mark.statistical
def test_the_shipped_intervals_are_nearer_to_the_truth_than_those_of_the_ritz_values():
    data = functions.dataset(20261128, 250)
    everything = torch.arange(250)
    ends = perceptron(read(DATA / "functions.npz"), "ends")
    ours = functions.excess(data, everything, torch.from_numpy(ends(data.features.numpy())))
    seen = functions.excess(data, everything, torch.tensor([[-30.0, 30.0]], dtype=torch.float64).expand(250, 2))
    assert ours.quantile(0.95) < math.log(2.0) < seen.quantile(0.95)
    assert ours.mean() < 0.7 * seen.mean()


def test_the_best_polynomials_of_degree_11_and_the_engine_are_positive_definite_multiples_of_the_same_kind():
    """A control of the whole chain: on a uniform spectrum, seen whole, nothing is better than Chebyshev's."""
    nodes = np.linspace(0.05, 1.0, 400)
    from autonla.probes import ritz

    seen = ritz.run(lambda v: nodes * v, np.ones(400), 120)
    said = inference.engine()(seen.values, seen.residuals, seen.weights)
    assert said is not None
    p = np.stack([said.recurrence(nodes), chebyshev(0.05, 1.0, 11)(nodes)], axis=1)
    ours, theirs = forecast.cg_iterations(nodes, p, 1e-10)
    assert ours <= 1.05 * theirs
