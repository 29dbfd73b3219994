"""Training of AutoSpec's engine: what its spectra promise, losses by hand, the moving anchor, short trainings."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autonla.planner.autospec import paper as training
from autonla.planner.autospec.paper import Engine, Run, Settings, Stage
from autonla.planner.autospec.paper_spectra import CONDITION, SCALE, SEPARATION, TASKS, rescaled, spectra
from autonla.primitives.autospec import LAYERS, PaperEngine
from autonla.primitives.polynomials import Recurrence

SHORT = Settings(Stage(96, 32, 3, (1e-3,), (50,)), Stage(48, 16, 2, (1e-3,), (60,)), held_out=24)


def tensor(*rows: object) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [8, 50, 333])
def test_spectra_descend_from_one_and_are_positive(task: str, size: int) -> None:
    values = spectra(100, size, task=task, seed=0)
    assert values.shape == (100, size)
    assert (values[:, 0] == 1.0).all()
    assert (np.diff(values, axis=1) <= 0.0).all()
    assert (values > 0.0).all()


@pytest.mark.parametrize("task", sorted(CONDITION))
def test_condition_numbers_fill_their_range_and_stay_in_it(task: str) -> None:
    low, high = CONDITION[task]
    condition = 1.0 / spectra(2000, 100, task=task, seed=1)[:, -1]
    assert condition.min() >= low * (1.0 - 1e-12)
    assert condition.max() <= high * (1.0 + 1e-12)
    share = np.log(condition / low) / math.log(high / low)
    counts = np.histogram(share, 10, (0.0, 1.0))[0]
    assert counts.min() > 50
    if task == "linear_system":  # evenly: of a Sobol sequence far closer to 200 each than random numbers would be
        assert abs(counts - 200).max() < 20
    else:  # more small ones
        assert counts[0] > 3 * counts[-1]


def test_a_range_of_condition_numbers_can_be_given() -> None:
    condition = 1.0 / spectra(64, 30, task="linear_system", seed=1, condition=(5.0, 6.0))[:, -1]
    assert condition.min() >= 5.0 * (1.0 - 1e-12)
    assert condition.max() <= 6.0 * (1.0 + 1e-12)


def test_spectra_of_eigenproblems_have_leading_eigenvalues_close_together_which_others_have_not() -> None:
    assert spectra(500, 100, task="eigenproblem", seed=2)[:, 1].min() >= SEPARATION
    assert (spectra(500, 100, task="linear_system", seed=2)[:, 1] < SEPARATION).mean() > 0.1


def test_spectra_are_of_many_shapes() -> None:
    values = spectra(500, 200, task="linear_system", seed=3)
    middle = values[:, 100]
    assert np.quantile(middle, 0.1) < 0.06
    assert np.quantile(middle, 0.9) > 0.4


def test_spectra_are_a_function_of_the_seed() -> None:
    for task in TASKS:
        first, again, other = (spectra(40, 50, task=task, seed=seed) for seed in (4, 4, 5))
        assert (first == again).all()
        assert not (first == other).all(axis=1).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "square_root"}, {"count": 0}, {"size": 7}, {"condition": (1.0, 1.0)}, {"condition": (20.0, 10.0)},
        {"condition": (0.5, 10.0)}, {"condition": (1.0, math.inf)},
    ],
)  # fmt: skip
def test_spectra_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    arguments = {"count": 3, "size": 20, "task": "linear_system", "seed": 0, **wrong}
    with pytest.raises(ValueError, match=r"not one of|no .* spectra"):
        spectra(**arguments)  # type: ignore[arg-type]


def test_scales_are_spread_over_a_fifth_up_and_down() -> None:
    values = spectra(1000, 20, task="linear_system", seed=0)
    scaled, factors = rescaled(values, seed=1)
    assert (scaled == values * factors).all()
    assert 1.0 - SCALE <= factors.min() < 1.0 - 0.97 * SCALE
    assert 1.0 + 0.97 * SCALE < factors.max() <= 1.0 + SCALE


def test_polynomials_are_those_of_the_recurrence_after_each_layer() -> None:
    coefficients = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 5)))
    x = tensor([0.1, 0.5, 0.9], [0.2, 0.3, 1.1])
    plain = training.polynomials(coefficients, x, normalize=False)
    normalized = training.polynomials(coefficients, x, normalize=True)
    for i in range(2):
        for k in range(1, 5):
            rho, *others = coefficients[i, :k].T.tolist()
            expected = Recurrence(rho[:-1], *others)(x[i].numpy())
            assert plain[i, k - 1].numpy() == pytest.approx(expected, rel=1e-12)
            factor = normalized[i, k - 1] / plain[i, k - 1]
            assert factor.min() > 0.0
            assert factor.numpy() == pytest.approx(float(factor[0]), rel=1e-12)


def test_normalization_prevents_overflow() -> None:
    coefficients = tensor([[0.0, 1e60, 1e60, 1e60, 1e60]] * 10)
    x = tensor([0.5, 1.0])
    assert torch.isfinite(training.polynomials(coefficients, x, normalize=True)).all()
    assert not torch.isfinite(training.polynomials(coefficients, x, normalize=False)).all()


def test_the_terms_of_a_linear_system_by_hand() -> None:
    # P = (1, 2, 4) at (1, 0.5, 0.125): P x = (1, 1, 0.5); of one layer, so of degree two
    P, x = tensor([[1.0, 2.0, 4.0]]), tensor([1.0, 0.5, 0.125])
    baseline = tensor([math.log(1.0 - 0.125)])
    objective, regularization, structure = training.linear_system_terms(P, x, baseline)
    assert float(objective) == pytest.approx(math.log(0.875) / math.log(0.5))
    assert float(regularization) == pytest.approx(0.5)
    assert float(structure) == pytest.approx(5.0 / 8.0 * 4.0)
    for factor in (1e-100, 1e100):
        again = training.linear_system_terms(factor * P, x, baseline)
        assert [float(term) for term in again] == pytest.approx(
            [float(objective), float(regularization), float(structure)]
        )


def test_a_polynomial_that_changes_its_sign_is_moved_by_regularization_only() -> None:
    P = tensor([[1.0, -0.5]]).requires_grad_()
    objective, regularization, _ = training.linear_system_terms(P, tensor([1.0, 1.0]), tensor([-0.1]))
    assert objective.item() == training.CLAMP
    assert regularization.item() == pytest.approx(1.5)  # 1 - (-0.5) / 1
    objective.sum().backward(retain_graph=True)
    assert P.grad is not None
    assert (P.grad == 0.0).all()
    regularization.sum().backward()
    assert (P.grad != 0.0).any()
    assert torch.isfinite(P.grad).all()


def test_the_terms_of_an_eigenproblem_by_hand() -> None:
    # two wanted, of which the smaller is 3; the third largest of all is 2 and not in order
    P = tensor([[3.0, -4.0, 0.5, -2.0, 1.0]])
    baseline = tensor([math.log(0.9 / 0.8)])
    objective, regularization = training.eigenproblem_terms(P, 2, 3, baseline)
    assert float(objective) == pytest.approx(math.log(0.9 / 0.8) / math.log(3.0 / 2.0))
    assert float(regularization) == pytest.approx(10.0 * math.exp(-15.0), rel=1e-6)


def test_a_gap_that_is_closed_is_clamped_and_penalized() -> None:
    # the smaller of the two wanted is 0.1, and the second largest of all 1
    objective, regularization = training.eigenproblem_terms(tensor([[1.0, 0.1, 2.0]]), 2, 2, tensor([0.2]))
    assert float(objective) == pytest.approx(1.0 / training.FADED)
    assert float(regularization) == pytest.approx(10.0 * math.exp(-1.0), rel=1e-6)


def test_the_terms_of_an_inverse_square_root_by_hand() -> None:
    x = tensor([1.0, 0.25])
    objective, regularization = training.inverse_square_root_terms(tensor([[1.1, 1.0]]), x, tensor([math.log(0.9)]))
    assert float(regularization) == pytest.approx(0.5)  # 1 - 0.5 at 0.25
    assert float(objective) == pytest.approx(math.log(0.9) / math.log(0.5))
    objective, regularization = training.inverse_square_root_terms(tensor([[3.0, 2.0]]), x, tensor([math.log(0.9)]))
    assert (float(objective), float(regularization)) == (training.CLAMP, 2.0)


def test_neumann_errors_by_hand() -> None:
    found = np.exp(training.neumann_error(np.array([[1.0, 0.64]]), 2))
    # 1 + 0.18 and 1 + 0.18 + 3/8 0.36^2, times 0.8
    assert found == pytest.approx(np.array([[1.0 - 1.18 * 0.8, 1.0 - 1.2286 * 0.8]]), rel=1e-10)


def test_the_baseline_of_each_task_is_that_of_the_paper() -> None:
    stage = Stage(16, 8, 1, orders=(50,))
    linear = training.exact_groups("linear_system", stage, 16, 0)[0]
    quotient = (linear.x[:, -1] / linear.x[:, 0]).numpy()
    assert linear.baseline[:, 2].numpy() == pytest.approx(3.0 * np.log(1.0 - quotient), rel=1e-10)
    eigen = training.exact_groups("eigenproblem", stage, 64, 0)[1]
    expected = 20.0 * torch.log(eigen.x[:, eigen.k - 1] / eigen.x[:, eigen.l - 1])
    assert eigen.baseline[:, -1].numpy() == pytest.approx(expected.numpy(), rel=1e-12)
    root = training.exact_groups("inverse_square_root", stage, 16, 0)[0]
    assert root.baseline[:, -1].numpy() == pytest.approx(training.neumann_error(root.x.numpy(), 21)[:, -1], rel=1e-12)


def test_the_anchor_moves_evenly_from_the_first_layer_to_the_last() -> None:
    steps = 1000
    anchors = [int(np.argmax(training.layer_weights(10, step, steps))) for step in range(steps)]
    # two layers beside the anchor weigh as much as it (equation 19): the first of the three is found
    middle = [max(0, 10 * step // steps - 1) for step in range(steps)]
    assert anchors == middle


def test_layer_weights_are_those_of_equation_19() -> None:
    assert training.layer_weights(4, 0, 4) == pytest.approx(np.array([1.0, 1.0, 1 / 4, 1 / 9]) / (2.0 + 1 / 4 + 1 / 9))
    assert training.layer_weights(4, 3, 4) == pytest.approx(np.array([1 / 9, 1 / 4, 1.0, 1.0]) / (2.0 + 1 / 4 + 1 / 9))
    assert training.layer_weights(3, 1, 3) == pytest.approx(np.ones(3) / 3.0)


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_as_a_cosine() -> None:
    rates = np.array([training.learning_rate(0.5, step, 1000) for step in range(1000)])
    assert np.argmax(rates) == 100
    assert rates[100] == 0.5
    assert (np.diff(rates[:101]) > 0.0).all()
    assert (np.diff(rates[100:]) < 0.0).all()
    assert rates[550] == pytest.approx(0.25)
    assert rates[-1] < 1e-5


def test_exact_inputs_are_what_the_embedding_is_to_emit() -> None:
    stage = Stage(16, 8, 1, orders=(60,))
    linear = training.exact_groups("linear_system", stage, 8, 1)[0]
    assert (linear.inputs == torch.cat([linear.x[:, :5], linear.x[:, -5:]], 1)).all()
    for group in training.exact_groups("eigenproblem", stage, 32, 1):
        k, l = group.k, group.l
        around = [group.x[:, min(i, 59)] for i in (k - 1, l - 2, l - 1, l, l + 1)]
        assert (group.inputs == torch.stack(around, 1)).all()


def test_ritz_values_of_subspace_iterations_converge_with_them() -> None:
    eigenvalues = spectra(1, 200, task="eigenproblem", seed=0)[0]
    errors, bounds = [], []
    for iterations in (1, 20, 400):
        values, residuals = training.subspace(eigenvalues, 30, iterations, np.random.default_rng(0))
        assert (np.diff(values) <= 0.0).all()
        assert (values <= eigenvalues[:30] * (1.0 + 1e-12)).all()  # Cauchy's interlacing
        distance = np.abs(values[:, None] - eigenvalues).min(axis=1)
        assert (distance <= residuals + 1e-12).all()
        errors.append(np.abs(values - eigenvalues[:30])[:10].max())
        bounds.append(residuals[:10].max())
    assert errors[0] > 2.0 * errors[1] > 4.0 * errors[2]
    assert bounds[0] > bounds[1] > bounds[2]


def test_powers_taken_together_span_what_single_iterations_do() -> None:
    eigenvalues = np.linspace(1.0, 0.5, 80)
    values, residuals = training.subspace(eigenvalues, 8, 7, np.random.default_rng(1))
    V = np.linalg.qr(np.random.default_rng(1).standard_normal((80, 8)))[0]
    for _ in range(7):
        V = np.linalg.qr(eigenvalues[:, None] * V)[0]
    XV = eigenvalues[:, None] * V
    expected, S = np.linalg.eigh(V.T @ XV)
    assert values == pytest.approx(expected[::-1], rel=1e-10)
    assert residuals == pytest.approx(np.linalg.norm(XV @ S - V @ S * expected, axis=0)[::-1], rel=1e-8)


@pytest.mark.parametrize("task", sorted(LAYERS))
def test_probes_are_scaled_with_their_spectra(task: str) -> None:
    for group in training.probed_groups(task, SHORT.embedding, 24, 3):
        values = group.inputs[:, 0, : group.inputs.shape[2] // 2]
        residuals = group.inputs[:, 0, group.inputs.shape[2] // 2 :]
        # every Ritz value has an eigenvalue within its residual
        distance = (values[:, :, None] - group.x[:, None, :]).abs().amin(2)
        assert (distance <= residuals + 1e-10).all()
        # every other row is normalized by the largest value with its residual
        assert (values[1::2, 0] + residuals[1::2, 0]).numpy() == pytest.approx(1.0, rel=1e-12)
        assert group.x.max() <= 1.0 + SCALE


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(LAYERS))
@pytest.mark.parametrize("stage", ["backbone", "embedding"])
def test_a_short_training_lowers_the_held_out_loss_of_each_stage(task: str, stage: str) -> None:
    engine = Engine(task, 0)
    if stage == "embedding":  # for a backbone that is worth it: the one that is shipped
        trained = PaperEngine.load(task).backbone
        engine.backbone.load_state_dict(
            {name: torch.from_numpy(getattr(trained, name)) for name in ("W", "w", "b", "c")}
        )
    make = training.exact_groups if stage == "backbone" else training.probed_groups
    setting = Stage(96, 32, 12, orders=(100,))
    groups, held_out = make(task, setting, 96, 1), make(task, setting, 48, 2)
    before = training.held_out_loss(engine, held_out, stage)["loss"]
    frozen = {name: value.clone() for name, value in engine.state_dict().items() if not name.startswith(stage)}
    run = Run(engine, stage, setting, groups, 1e-3, setting.epochs, 0)
    for _ in range(setting.epochs):
        run.train_epoch()
    assert training.held_out_loss(engine, held_out, stage)["loss"] < before
    for name, value in frozen.items():
        assert (engine.state_dict()[name] == value).all()


class _Stop(Exception):
    pass


@pytest.mark.parametrize("epochs_before", [1, 3, 4])
def test_a_training_that_was_stopped_ends_with_the_same_bits(tmp_path: Path, epochs_before: int) -> None:
    whole = training.train("linear_system", tmp_path / "whole", seed=1, settings=SHORT)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == epochs_before:
            raise _Stop

    with pytest.raises(_Stop):
        training.train("linear_system", tmp_path / "parts", seed=1, settings=SHORT, progress=stop)
    assert not (tmp_path / "parts/paper_linear_system.npz").exists()
    again = training.train("linear_system", tmp_path / "parts", seed=1, settings=SHORT)
    name = "paper_linear_system.npz"
    with np.load(tmp_path / "whole" / name) as a, np.load(tmp_path / "parts" / name) as b:
        assert set(a.files) == set(b.files)
        for name in a.files:
            assert (a[name] == b[name]).all()
    assert whole["held_out"] == again["held_out"]
    first, second = ((tmp_path / part / "curves.csv").read_text() for part in ("whole", "parts"))
    assert first == second


def test_other_seeds_give_other_weights_and_other_settings_no_checkpoint(tmp_path: Path) -> None:
    brief = replace(SHORT, backbone=replace(SHORT.backbone, epochs=1), embedding=replace(SHORT.embedding, epochs=1))
    for seed in (1, 2):
        training.train("linear_system", tmp_path / str(seed), seed=seed, settings=brief)
    with np.load(tmp_path / "1/paper_linear_system.npz") as a, np.load(tmp_path / "2/paper_linear_system.npz") as b:
        assert not any((a[name] == b[name]).all() for name in a.files)
    with pytest.raises(ValueError, match="another training"):
        training.train("linear_system", tmp_path / "1", seed=1, settings=SHORT)


def test_a_training_writes_weights_curves_and_a_report(tmp_path: Path) -> None:
    rates = replace(SHORT, backbone=replace(SHORT.backbone, rates=(1e-3, 1e-12)))
    threads = torch.get_num_threads()
    report = training.train("linear_system", tmp_path, settings=rates)
    assert torch.get_num_threads() == threads
    assert report["rates"] == {"backbone": 1e-3, "embedding": 1e-3}  # the one that moves
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert report["settings"]["backbone"]["epochs"] == 3
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("backbone", str(epoch)) for epoch in (1, 2, 3)), ("embedding", "1"), ("embedding", "2"),
    ]  # fmt: skip
    assert float(rows[-1]["held_out_loss"]) == report["held_out"]["embedding"]["loss"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    PaperEngine.load("linear_system", tmp_path / "paper_linear_system.npz")


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not one of"):
        training.train("square_root", tmp_path)
