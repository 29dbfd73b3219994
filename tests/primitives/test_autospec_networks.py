"""AutoSpec's own engines: what they read, what they start from, what they may come to."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from autonla.primitives.autospec import functions, linear_systems
from autonla.primitives.autospec.features import TOP, features
from autonla.primitives.autospec.network import Perceptron, gelu, perceptron, read
from autonla.primitives.polynomials import ritz_least_squares
from autonla.primitives.polynomials.functions import function
from autonla.probes import ritz


def probe(eigenvalues: np.ndarray, steps: int = 50, seed: int = 0) -> ritz.RitzValues:
    start = np.random.default_rng(seed).standard_normal(len(eigenvalues))
    return ritz.run(lambda v: eigenvalues * v, start, steps)


def layers(seed: int, *sizes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {"x.mean": rng.standard_normal(sizes[0]), "x.scale": rng.uniform(0.5, 2.0, sizes[0])}
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        found |= {f"x.W{i}": rng.standard_normal((a, b)), f"x.b{i}": rng.standard_normal(b)}
    return found


LINEAR = np.linspace(1e-3, 2.0, 500)
GEOMETRIC = np.geomspace(1e-4, 1.0, 400)


# --- networks


def test_a_perceptron_is_what_torch_makes_of_the_same_weights():
    import torch

    arrays = layers(0, 5, 7, 6, 3)
    x = np.random.default_rng(1).standard_normal((4, 5))
    y = torch.from_numpy((x - arrays["x.mean"]) / arrays["x.scale"])
    for i in range(3):
        y = y @ torch.from_numpy(arrays[f"x.W{i}"]) + torch.from_numpy(arrays[f"x.b{i}"])
        y = torch.nn.functional.gelu(y) if i < 2 else y
    np.testing.assert_allclose(perceptron(arrays, "x")(x), y.numpy(), rtol=1e-13)
    assert gelu(np.array([0.0, 50.0, -50.0])).tolist() == [0.0, 50.0, 0.0]


def test_weights_are_read_as_they_were_written(tmp_path):
    arrays = layers(2, 3, 2)
    np.savez(tmp_path / "net.npz", **arrays)  # type: ignore[arg-type]
    assert {k: v.tolist() for k, v in read(tmp_path / "net.npz").items()} == {k: v.tolist() for k, v in arrays.items()}


def damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickled":
        np.savez(path, x=np.array([{"a": 1}], dtype=object))  # type: ignore[arg-type]
    elif how == "changed":
        middle = whole.index(b"x.W0") + 200
        path.write_bytes(whole[:middle] + b"!!!!" + whole[middle + 4 :])


@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "pickled", "changed"])
def test_a_damaged_file_of_weights_is_an_error_that_names_it(tmp_path, how):
    np.savez(tmp_path / "net.npz", **layers(2, 30, 20))  # type: ignore[arg-type]
    damaged(tmp_path / "net.npz", how)
    with pytest.raises(ValueError, match=r"net\.npz"):
        read(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x.W1": np.zeros((4, 3))}, "does not follow one of 2 outputs"),
        ({"x.b0": np.zeros(3)}, "a bias of"),
        ({"x.scale": np.zeros(3)}, "scale positive"),
        ({"x.scale": np.ones(2)}, "one length"),
        ({"x.W0": np.full((3, 2), np.nan)}, "not finite"),
        ({"x.mean": None}, "lack 'x.mean'"),
        ({"x.b1": None}, "lack 'x.b1'"),
        ({"x.W0": None, "x.W1": None}, "one of each"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    arrays = {k: v for k, v in (layers(3, 3, 2, 4) | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        perceptron(arrays, "x")


def test_features_do_not_depend_on_the_units():
    for values in (LINEAR, GEOMETRIC):
        a, b = probe(values), probe(1e6 * values)
        seen = [features(p.values / p.high, p.residuals / p.high, p.weights, np.ones(3)) for p in (a, b)]
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)


@pytest.mark.parametrize("steps", [2, 5, 13, 300])
def test_features_are_finite_and_as_many_for_short_probes_and_long_ones(steps):
    seen = probe(GEOMETRIC, steps)
    found = features(seen.values / seen.high, seen.residuals / seen.high, seen.weights, np.zeros(0))
    assert np.isfinite(found).all()
    assert len(found) == functions.engine().ends.inputs - 2


# --- linear systems


@pytest.mark.parametrize("degree", [5, 11, 16])
@pytest.mark.parametrize("values", [LINEAR, GEOMETRIC])
def test_it_starts_from_the_zeros_of_the_least_squares_polynomial(values, degree):
    seen = probe(values)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights, degree)
    assert start is not None
    low, high = seen.values[0], seen.high
    p = ritz_least_squares(seen.values, degree, (low / seen.values) ** 0.25, (low, high))
    gaps = start.gaps / start.gaps.sum() * math.pi
    assert start.gaps.sum() == pytest.approx(math.pi, rel=1e-14)
    assert start.end == TOP * high
    zeros = 0.5 * start.end * (1.0 - np.cos(np.cumsum(gaps)[:-1]))
    assert len(zeros) == degree + 1
    if gaps[1:-1].max() < 1.4 * math.pi / len(gaps):  # no gap was too wide
        np.testing.assert_allclose(zeros * p(zeros), 1.0, atol=1e-9)


def test_no_gap_in_between_is_wider_than_half_as_much_again_as_the_mean():
    clusters = np.concatenate([np.linspace(0.01, 0.02, 200), np.linspace(0.9, 1.0, 200)])
    seen = probe(clusters)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights)
    assert start is not None
    inner = start.gaps[1:-1]
    assert inner.max() / np.sort(inner)[-2] < 1.0 + 1e-12  # more than one was cut to that width
    assert start.gaps.sum() == pytest.approx(math.pi, rel=1e-14)


@pytest.mark.parametrize("steps", [3, 12])
def test_where_there_are_too_few_ritz_values_there_is_no_start(steps):
    seen = probe(LINEAR, steps)
    assert linear_systems.start(seen.values, seen.residuals, seen.weights) is None
    assert linear_systems.engine()(seen.values, seen.residuals, seen.weights) is None


@pytest.mark.parametrize("degree", [7, 11, 15])
def test_moved_gaps_are_those_of_the_zeros_of_the_recurrence(degree):
    seen = probe(LINEAR)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights, degree)
    assert start is not None
    change = 0.3 * np.sin(np.arange(13.0))
    p = linear_systems.recurrence(start, change)
    used = np.interp((np.arange(degree + 2) + 0.5) / (degree + 2), (np.arange(13) + 0.5) / 13, change)
    gaps = start.gaps * np.exp(used)
    zeros = 0.5 * start.end * (1.0 - np.cos(np.cumsum(gaps)[:-1] * math.pi / gaps.sum()))
    np.testing.assert_allclose(zeros * p(zeros), 1.0, rtol=1e-9)
    assert p.degree == degree
    assert p(np.zeros(1))[0] == pytest.approx((1.0 / zeros).sum(), rel=1e-9, abs=0.0)


def test_no_change_of_a_gap_is_more_than_a_factor_of_twenty():
    seen = probe(LINEAR)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights)
    assert start is not None
    change = np.zeros(13)
    change[4] = 3.0
    further = change.copy()
    further[4] = 50.0
    assert linear_systems.recurrence(start, change) == linear_systems.recurrence(start, further)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_engine_knows_no_units(factor):
    a, b = probe(GEOMETRIC), probe(factor * GEOMETRIC)
    ours, theirs = (linear_systems.engine()(p.values, p.residuals, p.weights) for p in (a, b))
    assert ours is not None
    assert theirs is not None
    x = np.linspace(1e-4, 1.0, 50)
    np.testing.assert_allclose(factor * theirs.recurrence(factor * x), ours.recurrence(x), rtol=1e-4)
    np.testing.assert_allclose(ours.off, theirs.off, atol=1e-4)


@pytest.mark.parametrize("degree", [8, 11, 14])
@pytest.mark.parametrize("values", [LINEAR, GEOMETRIC])
def test_what_it_says_is_positive_on_easy_spectra_and_in_order(values, degree):
    seen = probe(values)
    said = linear_systems.engine()(seen.values, seen.residuals, seen.weights, degree)
    assert said is not None
    assert said.recurrence.degree == degree
    assert said.recurrence.extremes(0.0, seen.high)[0] > 0.0
    assert said.off[1] <= said.off[0] <= said.off[2]
    assert math.isfinite(said.loss)


# --- functions


@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt", "inv", "log", ("inv_root", 4)])
@pytest.mark.parametrize("steps", [15, 50])
def test_the_interval_begins_at_or_below_the_smallest_ritz_value_and_ends_below_the_upper_bound(f, steps):
    seen = probe(np.geomspace(0.01, 1.0, 300), steps)
    low, high = functions.engine()(seen.values, seen.residuals, seen.weights, function(f))
    assert 0.0 < low < seen.values[0]
    assert seen.values[-1] < high <= seen.high * (1.0 + 1e-8)


def test_the_interval_goes_further_beyond_what_is_seen_the_less_is_seen():
    values = np.geomspace(0.003, 1.0, 1000)
    beyond = []
    for steps in (10, 20, 60, 200):
        seen = probe(values, steps)
        low, _ = functions.engine()(seen.values, seen.residuals, seen.weights, function("inv_sqrt"))
        beyond.append(math.log(seen.values[0] / low))
    assert beyond == sorted(beyond, reverse=True)
    assert beyond[0] > 0.05
    assert beyond[-1] < 0.01


@pytest.mark.parametrize("factor", [3.0, 30.0, -30.0])
def test_moves_that_would_not_stay_positive_are_made_smaller(factor):
    engine = linear_systems.engine()
    last = engine.moves.biases[-1].copy()
    last[6] += factor
    wild = linear_systems.Engine(
        Perceptron(engine.moves.mean, engine.moves.scale, engine.moves.weights, (*engine.moves.biases[:-1], last)),
        engine.doubts,
    )
    seen = probe(GEOMETRIC)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights)
    assert start is not None
    assert linear_systems.recurrence(start, wild.moves(start.features)).extremes(0.0, seen.high)[0] < 0.0 or factor < 0
    said = wild(seen.values, seen.residuals, seen.weights)
    assert said is not None
    assert said.recurrence.extremes(0.0, seen.high)[0] > 0.0


def test_what_the_start_solves_by_itself_is_left_alone():
    values = np.concatenate([np.full(300, 1.0), [2.0, 3.0, 5.0, 7.0]])
    seen = probe(values + 1e-9 * np.arange(304.0), 40)
    start = linear_systems.start(seen.values, seen.residuals, seen.weights)
    if start is None:  # fewer Ritz values than zeros
        assert len(seen.values) <= 12
        return
    said = linear_systems.engine()(seen.values, seen.residuals, seen.weights)
    assert said is not None
    assert start.residual < 1e-8
    assert said.recurrence == linear_systems.recurrence(start, np.zeros(13))
