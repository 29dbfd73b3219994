"""AutoSpec's engine as in its paper: inference as torch has it, windows by hand, damaged weights, safety."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autonla.planner.autospec import paper as training
from autonla.planner.autospec.paper_spectra import spectra
from autonla.primitives.autospec import LAYERS, Backbone, EigenEmbedding, LinearSystemEmbedding, PaperEngine, window
from autonla.primitives.autospec.network import gelu
from autonla.primitives.autospec.paper import ends
from autonla.primitives.polynomials import chebyshev

TASKS = tuple(LAYERS)


def random_weights(task: str, seed: int = 0) -> dict[str, np.ndarray]:
    """As they are before training, with backbones that are not near a simple recurrence."""
    weights = training.Engine(task, seed).weights()
    generator = np.random.default_rng(seed)
    return {
        name: array + 0.3 * generator.standard_normal(array.shape) if name.startswith("backbone") else array
        for name, array in weights.items()
    }


def probe_of(task: str, seed: int, steps: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(eigenvalues, Ritz values descending, residuals) of a synthetic matrix of order 300."""
    eigenvalues = spectra(1, 300, task=task, seed=seed)[0]
    return eigenvalues, *training.lanczos(eigenvalues, steps, np.random.default_rng(seed))


@pytest.mark.parametrize("task", TASKS)
def test_numpy_inference_is_what_the_torch_modules_compute(task: str) -> None:
    import torch

    engine = training.Engine(task, 3)
    weights = random_weights(task, 3)
    engine.load_state_dict({name.replace("_", ".", 1): torch.from_numpy(array) for name, array in weights.items()})
    _, values, residuals = probe_of(task, 5)
    numbers = {"k": 7, "l": 31} if task == "eigenproblem" else {}
    p = PaperEngine.of_weights(task, weights)(values, residuals, **numbers)
    radius = values[0] + residuals[0]
    theta, r = values / radius, residuals / radius
    if task == "eigenproblem":
        chosen = window(7, 31, 10, 104)
        shown = np.concatenate([theta[chosen], r[chosen]])[None].repeat(2, axis=0)
    else:
        shown = np.stack(ends(theta, r, 20))
    x = np.linspace(0.0, 1.0, 40)
    with torch.no_grad():
        coefficients = engine.backbone(engine.embedding(torch.from_numpy(shown[None])))
        found = training.polynomials(coefficients, torch.from_numpy(x[None]), normalize=False)[0, -1].numpy()
    if task == "inverse_square_root":
        found = found / math.sqrt(radius)
    assert np.abs(p(radius * x) / found - 1.0).max() < 1e-8


@pytest.mark.parametrize(("task", "degree"), [("linear_system", 11), ("eigenproblem", 21), ("inverse_square_root", 21)])
def test_the_recurrence_has_the_degree_of_the_paper(task: str, degree: int) -> None:
    _, values, residuals = probe_of(task, 1)
    numbers = {"k": 4, "l": 16} if task == "eigenproblem" else {}
    p = PaperEngine.of_weights(task, random_weights(task))(values, residuals + 0.25, **numbers)
    assert p.degree == degree
    assert p.radius == values[0] + residuals[0] + 0.25


def test_a_layer_divides_all_its_coefficients_but_the_first_by_its_scaling_factor() -> None:
    W = np.zeros((1, 2, 5))
    W[0, 0], W[0, 1] = [9.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 0.0, 0.0]
    W = np.concatenate([W, W])
    backbone = Backbone(W, np.array([[0.0, 2.0]] * 2), np.array([[0.5, 0.0, 0.0, 0.0, 1.0]] * 2), np.array([1.0, 1.0]))
    p = backbone(np.array([1.0, 2.0]))  # numerators 9.5, 3, 2, 3, 5; the factor is 2 * 2 + 1
    assert p.rho == (9.5,)
    for found, expected in ((p.gamma, 0.6), (p.eta, 0.4), (p.alpha, 0.6), (p.beta, 1.0)):
        assert found == pytest.approx((expected, expected), rel=1e-8)


def test_a_scaling_factor_of_zero_is_kept_from_division_by_zero_by_its_guard() -> None:
    zero = np.zeros((1, 1))
    p = Backbone(np.zeros((1, 1, 5)), zero, np.ones((1, 5)), np.zeros(1))(np.ones(1))
    assert p.beta == pytest.approx((1e8,))


def test_gelu_is_the_exact_one() -> None:
    x = np.linspace(-6.0, 6.0, 25)
    expected = [v * 0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x]
    assert gelu(x) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_the_embedding_of_a_linear_system_sorts_magnitudes_of_each_end() -> None:
    # one hidden unit for each end, so large that its GeLU is the identity
    W1, W2 = np.array([[100.0], [0.0]]), np.array([[0.0], [100.0]])
    W3, W4 = np.array([[1.0, -5.0, 3.0, 0.0, 2.0]]), np.array([[-1.0, 0.0, 0.0, 0.0, 0.5]])
    e = LinearSystemEmbedding(W1, W2, W3, W4)(np.array([2.0, 1.0]), np.array([0.25, 0.5]))
    # the largest value 2 is seen by the first, the residual 1/2 of the smallest by the second
    assert e == pytest.approx([1000.0, 600.0, 400.0, 200.0, 0.0, 50.0, 25.0, 0.0, 0.0, 0.0], abs=1e-12)


def test_the_embedding_of_an_eigenproblem_has_the_least_magnitude_first() -> None:
    # two targets in a window of three: values 0, 1 and 3 of the probe, k = 2, l = 4
    W1 = np.zeros((6, 1))
    W2 = np.zeros((6, 1))
    W1[1], W2[2] = 100.0, 100.0
    embedding = EigenEmbedding(W1, W2, np.array([[-3.0, 2.0]]), np.array([[1.0, -1.0, 0.0, 2.0]]))
    e = embedding(np.array([5.0, 4.0, 3.0, 1.0, 0.5]), np.zeros(5), 2, 4)
    assert e == pytest.approx([800.0, 100.0, -100.0, 0.0, 200.0], abs=1e-12)


def test_the_window_of_the_networks_own_size_is_the_probe() -> None:
    assert window(10, 104, 10, 104).tolist() == list(range(104))


@pytest.mark.parametrize(
    ("k", "l", "expected"),
    [
        (2, 4, [0, 0, 1, 2, 2, 3]),  # too few: repeated
        (5, 17, [0, 2, 4, 5, 10, 16]),  # too many: thinned out
        (1, 2, [0, 0, 0, 1, 1, 1]),
        (3, 6, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_windows_by_hand(k: int, l: int, expected: list[int]) -> None:
    assert window(k, l, 3, 6).tolist() == expected


def test_every_window_ends_its_parts_with_the_kth_and_the_lth() -> None:
    for k in range(1, 60):
        for l in range(k + 1, 160, 7):
            chosen = window(k, l, 10, 104)
            assert (chosen[9], chosen[-1], len(chosen)) == (k - 1, l - 1, 104)
            assert chosen.min() >= 0
            assert (np.diff(chosen) >= 0).all()
            assert chosen[10] == k


@pytest.mark.parametrize(("k", "l"), [(0, 3), (3, 3), (4, 2)])
def test_a_window_needs_k_below_l(k: int, l: int) -> None:
    with pytest.raises(ValueError, match="l above k"):
        window(k, l, 3, 6)


def test_the_ends_of_a_probe_are_its_largest_and_its_smallest_values() -> None:
    values, residuals = np.arange(50.0)[::-1], np.arange(50.0) / 100.0
    x1, x2 = ends(values, residuals, 20)
    assert x1.tolist() == [*values[:20], *residuals[:20]]
    assert x2.tolist() == [*values[-20:], *residuals[-20:]]


def test_a_short_probe_is_repeated_with_its_ends() -> None:
    values, residuals = np.array([3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.3])
    x1, x2 = ends(values, residuals, 20)
    assert (x1 == x2).all()
    assert (x1[0], x1[19], x1[20], x1[39]) == (3.0, 1.0, 0.1, 0.3)
    assert (np.diff(x1[:20]) <= 0.0).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_a_probe_and_its_scale_do_not_matter(task: str) -> None:
    _, values, residuals = probe_of(task, 2)
    engine = PaperEngine.of_weights(task, random_weights(task))
    numbers = {"k": 4, "l": 16} if task == "eigenproblem" else {}
    p = engine(values, residuals, **numbers)
    shuffled = np.random.default_rng(0).permutation(len(values))
    q = engine(values[shuffled] * 1e200, residuals[shuffled] * 1e200, **numbers)
    x = np.linspace(0.1, 1.0, 7)
    scale = 1e-100 if task == "inverse_square_root" else 1.0  # (1e200 x)^(-1/2)
    assert q(1e200 * x) == pytest.approx(scale * p(x), rel=1e-9, abs=0.0)


@pytest.mark.parametrize(
    ("values", "residuals"),
    [
        ([1.0, 2.0], [0.1]),
        ([], []),
        ([[1.0, 2.0]], [[0.1, 0.1]]),
        ([1.0, math.nan], [0.1, 0.1]),
        ([1.0, 2.0], [0.1, -0.1]),
        ([1.0, 2.0], [0.1, math.inf]),
        ([0.0, 2.0], [0.1, 0.1]),
        ([-1.0, -2.0], [0.1, 0.1]),
    ],
)
def test_what_is_no_probe_of_a_positive_matrix_is_refused(values: Any, residuals: Any) -> None:
    engine = PaperEngine.of_weights("linear_system", random_weights("linear_system"))
    with pytest.raises(ValueError, match=r"no probe|not finite|positive matrix"):
        engine(values, residuals)


@pytest.mark.parametrize("numbers", [{}, {"k": 3}, {"k": 3, "l": 3}, {"k": 0, "l": 3}, {"k": 2, "l": 6}])
def test_eigenproblems_need_k_and_l_within_the_probe(numbers: dict[str, int]) -> None:
    engine = PaperEngine.of_weights("eigenproblem", random_weights("eigenproblem"))
    with pytest.raises(ValueError, match="no 1 <= k < l"):
        engine(np.arange(1.0, 6.0), np.zeros(5), **numbers)


@pytest.mark.parametrize("task", TASKS)
def test_weights_come_back_from_a_file(task: str, tmp_path: Path) -> None:
    weights = random_weights(task)
    np.savez_compressed(tmp_path / "w.npz", **weights)  # type: ignore[arg-type]
    _, values, residuals = probe_of(task, 1)
    numbers = {"k": 4, "l": 16} if task == "eigenproblem" else {}
    first, second = PaperEngine.load(task, tmp_path / "w.npz"), PaperEngine.of_weights(task, weights)
    assert first(values, residuals, **numbers) == second(values, residuals, **numbers)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    weights = random_weights("linear_system")
    path = tmp_path / "w.npz"

    def write(**changed: Any) -> None:
        np.savez(path, **{**weights, **changed})

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            PaperEngine.load("linear_system", path)

    write(backbone_W=weights["backbone_W"][:-1])
    refused("backbone_W.*shape")
    write(backbone_c=weights["backbone_c"][:, None])
    refused("backbone_c.*shape")
    write(embedding_W3=weights["embedding_W3"][:-1])
    refused("embedding_W3.*shape")
    write(embedding_W1=np.float64(1.0))
    refused("embedding_W1.*shape")
    write(backbone_b=np.full_like(weights["backbone_b"], np.nan))
    refused("backbone_b.*finite")
    write(backbone_b=np.array([["x"] * 5] * 10))
    refused("does not hold weights")
    np.savez(path, **{name: array for name, array in weights.items() if name != "backbone_w"})  # type: ignore[arg-type]
    refused("lack backbone_w")
    write(backbone_b=np.array([None], dtype=object))
    refused("does not hold weights")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("does not hold weights")
    np.savez(path, **weights)  # type: ignore[arg-type]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    path.write_bytes(whole)
    refused("does not hold weights")
    path.write_bytes(b"")
    refused("does not hold weights")
    path.write_bytes(pickle.dumps(weights))
    refused("does not hold weights")
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    refused("single array")


def test_weights_of_another_task_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **random_weights("inverse_square_root"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shape"):
        PaperEngine.load("linear_system", tmp_path / "w.npz")
    with pytest.raises(ValueError, match="not one of"):
        PaperEngine.load("square_root")
    with pytest.raises(ValueError, match=r"missing\.npz does not hold weights"):
        PaperEngine.load("linear_system", tmp_path / "missing.npz")


SHARES = {"linear_system": 0.97, "inverse_square_root": 0.97, "eigenproblem": 0.97}


@pytest.mark.statistical
@pytest.mark.parametrize("task", TASKS)
def test_shipped_engines_are_safe_on_synthetic_probes(task: str) -> None:
    """Positive on the spectrum, or a gap that is larger than without."""
    engine = PaperEngine.load(task)
    safe = 0
    for seed in range(150):
        eigenvalues, values, residuals = probe_of(task, 1000 + seed, 50)
        if task == "eigenproblem":
            k, l = ((4, 6), (10, 15), (10, 40))[seed % 3]
            values, residuals = training.subspace(eigenvalues, l, 20, np.random.default_rng(seed))
            sizes = np.abs(engine(values, residuals, k=k, l=l)(eigenvalues))
            gap = sizes[:k].min() / np.sort(sizes)[-l]
            safe += bool(gap > eigenvalues[k - 1] / eigenvalues[l - 1])
        else:
            p = engine(values, residuals)
            safe += bool(p.extremes(eigenvalues[-1], float(values[0] + residuals[0]))[0] > 0.0)
    assert safe >= SHARES[task] * 150


def test_the_shipped_engine_of_linear_systems_flattens_spectra_well() -> None:
    gains = []
    for seed in range(60):
        eigenvalues, values, residuals = probe_of("linear_system", 2000 + seed, 50)
        y = eigenvalues * PaperEngine.load("linear_system")(values, residuals)(eigenvalues)
        best = chebyshev(eigenvalues[-1], 1.0, 11)(eigenvalues) * eigenvalues
        gains.append((best.max() / best.min()) / (y.max() / y.min()))
    # of condition numbers; Chebyshev's polynomial of the true interval has the least that there is
    assert max(gains) < 1.05
    assert np.median(gains) > 0.15


def test_the_shipped_inverse_square_root_beats_the_neumann_series() -> None:
    engine = PaperEngine.load("inverse_square_root")
    better = []
    for seed in range(60):
        eigenvalues, values, residuals = probe_of("inverse_square_root", 3000 + seed, 50)
        x = np.geomspace(eigenvalues[-1], 1.0, 300)
        error = np.abs(1.0 - np.sqrt(x) * engine(values, residuals)(x)).max()
        better.append(math.exp(training.neumann_error(x[None], 21)[0, -1]) / error)
    assert np.median(better) > 1.5


def test_the_shipped_engine_of_eigenproblems_gains_on_powers() -> None:
    engine = PaperEngine.load("eigenproblem")
    gains = []
    for seed in range(40):
        eigenvalues, _, _ = probe_of("eigenproblem", 4000 + seed, 20)
        values, residuals = training.subspace(eigenvalues, 40, 50, np.random.default_rng(seed))
        sizes = np.sort(np.abs(engine(values, residuals, k=10, l=40)(eigenvalues)[:10]))
        others = np.sort(np.abs(engine(values, residuals, k=10, l=40)(eigenvalues)))[-40]
        gains.append(math.log(sizes[0] / others) / (21.0 * math.log(eigenvalues[9] / eigenvalues[39])))
    assert np.median(gains) > 1.5
