"""Training of AutoSpec's engine as its paper has it: `python -m autonla.planner.autospec.paper TASK --out DIR`.

Liu, Balabanov, Yang and Mahoney (arXiv:2602.09530), sections 3.3 and 4, appendices A.2, B, C and D. Two stages: the
backbone learns on exact eigenvalues; then it is frozen, and the embedding learns on probes. Both minimize the same loss
of the polynomials after each layer, on diagonal matrices, with AdamW. `autonla.primitives.autospec.paper` has the
shapes and does inference without torch.

What the paper leaves open or cannot mean, and what stands here:

- The backbone's input in the first stage: exact values in the form that the embedding emits. For linear systems and
  functions the five largest and the five smallest eigenvalues, each descending; for eigenproblems the k-th eigenvalue
  and those from the one before the l-th to the second after it.
- Equation 18, s = floor(T / t), would move the anchor from the last layer to the first. The text moves it from the
  first to the last, evenly: s = floor(D t / T) + 1.
- c = 5 d^3 in equation 22 makes the condition number of P alone count: the constant polynomial comes of it (see
  `EXPONENT`). 5 d^-3, with which both terms are of one size, gives preconditioners with condition numbers like those
  of the paper's table 3.
- Layers start at the baseline's recurrence (Richardson, a power, one towards 1/(x + 0.17)), with small random weights;
  gradients are clipped to norm one, since the quotients of logarithms have poles.
- The epsilon under the logarithm of equation 17 is a share of the baseline's logarithm: with a constant the loss is
  that of the failures, and no constant suits gaps of 1e-3 and of 1.
- State normalization (section 4.3) holds for linear systems and eigenproblems, whose objectives do not see a scale. For
  functions of matrices it would; there are no overflows to prevent there.
- Probes are those of the planner's Lanczos runs, and of subspace iterations for eigenproblems.
- Fewer and smaller spectra, fewer epochs: see `SETTINGS`.
"""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...primitives.autospec.paper import ENDS, GUARD, LAYERS, TARGETS, WINDOW, PaperEngine, ends, window
from ...probes import ritz
from .paper_spectra import rescaled, spectra

EXPONENT = -3.0
"""Of the degree in the weight 5 d^e of the condition number of a preconditioner; 3 in the paper's equation 22.

With 3 a training of linear systems ends at a constant polynomial: condition number one, and no gain over none."""
WEIGHT_DECAY = 5e-4
WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""
CLAMP = 1e-8
"""Below it objectives have no gradient (appendix C.2)."""
FADED = 0.1
"""Share of the baseline's logarithm, below which that of an eigenproblem's gap is clamped (epsilon of equation 17)."""
AUGMENTED = 32
"""Random points that are added to the eigenvalues for functions of matrices (equation 23)."""

_MOST_POINTS = 256  # of a spectrum, that a loss of extremes looks at in the second stage
_START = {  # rho, gamma, eta, alpha, beta of each layer before training
    "linear_system": (0.0, 1.0, 0.0, 1.0, -1.0),
    "eigenproblem": (0.0, 0.0, 0.0, 0.0, 1.0),
    "inverse_square_root": (0.0, 0.9, 0.0, 0.85, -0.9),
}
_SMALL = 1e-2  # standard deviation of the backbone's first weights


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage of training uses; in the paper 50000 samples, batches of 500 and 200, and 1000 and 500 epochs.

    Attributes
    ----------
    samples : int
        Spectra that are trained on; as many as fill the groups evenly.
    batch, epochs : int
    rates : tuple of float
        Learning rates, of which short trainings choose one.
    orders : tuple of int
        Orders of the matrices.
    """

    samples: int
    batch: int
    epochs: int
    rates: tuple[float, ...] = (1e-3, 5e-4, 1e-4)
    orders: tuple[int, ...] = (50, 100, 200, 400)


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a training.

    Attributes
    ----------
    backbone, embedding : Stage
    held_out : int
        Spectra that losses are reported on.
    trial : float
        Share of the epochs that a short training takes to judge a learning rate.
    """

    backbone: Stage
    embedding: Stage
    held_out: int = 512
    trial: float = 0.05


SETTINGS = {
    "linear_system": Settings(Stage(8192, 128, 60), Stage(1536, 64, 80, orders=(200, 500, 1000))),
    "eigenproblem": Settings(
        Stage(8192, 128, 110, orders=(100, 200, 400)), Stage(1536, 64, 80, (2e-4, 1e-4, 5e-5), (200, 400))
    ),
    "inverse_square_root": Settings(Stage(8192, 128, 60), Stage(1536, 64, 60, orders=(200, 500))),
}
"""Used for the weights that are shipped: minutes of one processor for each task."""


class TorchBackbone(nn.Module):
    """`Backbone` with gradients."""

    def __init__(self, task: str, generator: torch.Generator) -> None:
        super().__init__()
        d, size = LAYERS[task], 5 if task == "eigenproblem" else 10
        self.W = nn.Parameter(_SMALL * _normal(generator, d, size, 5))
        self.w = nn.Parameter(_SMALL * _normal(generator, d, size))
        self.b = nn.Parameter(torch.tensor(_START[task], dtype=torch.float64).repeat(d, 1))
        self.c = nn.Parameter(torch.ones(d, dtype=torch.float64))

    def forward(self, e: Tensor) -> Tensor:
        """Coefficients (g, d, 5) of e : (g, size), in the order rho, gamma, eta, alpha, beta."""
        numerators = torch.einsum("gi,kij->gkj", e, self.W) + self.b
        delta = e @ self.w.T + self.c + GUARD
        return torch.cat([numerators[..., :1], numerators[..., 1:] / delta[..., None]], dim=-1)


class TorchEmbedding(nn.Module):
    """`LinearSystemEmbedding` or `EigenEmbedding` with gradients; its input is (g, 2, inputs), one for each subnet."""

    def __init__(self, task: str, generator: torch.Generator) -> None:
        super().__init__()
        self.eigen = task == "eigenproblem"
        inputs = 2 * (WINDOW if self.eigen else ENDS)
        hidden = 4 * TARGETS + 8 if self.eigen else 2 * ENDS
        outputs = (TARGETS, 4) if self.eigen else (5, 5)
        self.W1, self.W2 = (nn.Parameter(_normal(generator, inputs, hidden) / math.sqrt(inputs)) for _ in range(2))
        self.W3, self.W4 = (nn.Parameter(_normal(generator, hidden, o) / math.sqrt(hidden)) for o in outputs)

    def forward(self, x: Tensor) -> Tensor:
        gelu = nn.functional.gelu
        y1, y2 = gelu(x[:, 0] @ self.W1) @ self.W3, gelu(x[:, 1] @ self.W2) @ self.W4
        if self.eigen:
            return torch.cat([y1.abs().amin(dim=1, keepdim=True), y2], dim=1)
        return torch.cat([part.abs().sort(dim=1, descending=True).values for part in (y1, y2)], dim=1)


class Engine(nn.Module):
    """Both parts."""

    def __init__(self, task: str, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.task = task
        self.backbone = TorchBackbone(task, generator)
        self.embedding = TorchEmbedding(task, generator)

    def weights(self) -> dict[str, np.ndarray]:
        """As `PaperEngine.of_weights` takes them."""
        return {name.replace(".", "_"): value.detach().numpy().copy() for name, value in self.named_parameters()}


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def polynomials(coefficients: Tensor, x: Tensor, *, normalize: bool) -> Tensor:
    """Values (g, d, m) of the polynomials after each of d layers at x : (g, m), of coefficients : (g, d, 5).

    With `normalize` each up to a positive factor: the state is divided by its largest entry after each transition.
    """
    A, B, C = torch.ones_like(x), torch.ones_like(x), x
    found = []
    for layer in coefficients.unbind(1):
        rho, gamma, eta, alpha, beta = layer[:, :, None].unbind(1)
        following = gamma * A + eta * B + (alpha + beta * x) * C
        A, B, C = A + rho * C, C, following
        if normalize:
            # objectives do not see the factor, so that no gradient has to pass through it
            size = torch.maximum(torch.maximum(A.abs().amax(1), B.abs().amax(1)), C.abs().amax(1)).detach()[:, None]
            A, B, C = A / size, B / size, C / size
        found.append(C)
    return torch.stack(found, 1)


def linear_system_terms(P: Tensor, x: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 22 for each sample and layer: objective, regularization and structure, (g, d) each.

    Parameters
    ----------
    P : (g, d, m)
        Values of the polynomials at the eigenvalues x : (g, m).
    baseline : (g, d)
        Logarithm of equation 21 times the number of the layer.
    """
    y = P * x[:, None]
    # 1 - y / max |y| is largest where y is smallest
    quotient = y.amin(2) / y.abs().amax(2)
    sizes = P.abs()
    condition = sizes.amax(2) / sizes.amin(2)
    degrees = torch.arange(2, P.shape[1] + 2, dtype=P.dtype)
    return _objective(baseline, torch.log1p(-quotient)), 1.0 - quotient, 5.0 * degrees**EXPONENT * condition


def inverse_square_root_terms(P: Tensor, x: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 25: objective and regularization (g, d), of equations 23 and 24 (`baseline`: its logarithm)."""
    error = (1.0 - P * x.sqrt()[:, None]).abs().amax(2)
    return _objective(baseline, error.log()), error


def _objective(baseline: Tensor, log_r: Tensor) -> Tensor:
    """clamp(baseline / log r, CLAMP), and CLAMP without a gradient where the method does not converge at all."""
    converges = log_r < 0.0
    return torch.where(converges, baseline / torch.where(converges, log_r, -1.0), 0.0).clamp(min=CLAMP)


def eigenproblem_terms(P: Tensor, k: int, l: int, baseline: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 17: objective and regularization (g, d), of equation 14, and 15 (`baseline`: layer log r_subspace)."""
    sizes = P.abs()
    log_r = sizes[:, :, :k].amin(2).log() - sizes.topk(l, dim=2).values[:, :, -1].log()
    return baseline / torch.maximum(log_r, FADED * baseline), 10.0 * torch.exp(-10.0 * log_r.exp() - CLAMP)


def layer_weights(d: int, step: int, steps: int) -> np.ndarray:
    """(d,) of sum one: equations 18 and 19 at a step, counted from zero."""
    anchor = d * step // steps
    distance = np.abs(np.arange(d) - anchor)
    w = 1.0 / np.maximum(distance, 1) ** 2
    return w / w.sum()


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Rises linearly over the first tenth of the steps, then falls as a cosine."""
    rising = WARM_UP * steps
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return 0.5 * peak * (1.0 + math.cos(math.pi * (step - rising) / (steps - rising)))


@dataclass(frozen=True, slots=True)
class Group:
    """Samples of one order, and of one k and l.

    Attributes
    ----------
    x : (g, m) tensor
        Eigenvalues at which losses are taken, descending; for eigenproblems all of them.
    inputs : (g, size) or (g, 2, inputs) tensor
        Of the backbone in the first stage, of the embedding in the second.
    baseline : (g, d) tensor
        Logarithm of the baseline's metric at each layer.
    k, l : int
        Zero but for eigenproblems.
    """

    x: Tensor
    inputs: Tensor
    baseline: Tensor
    k: int = 0
    l: int = 0

    def take(self, index: Tensor) -> Group:
        return replace(self, x=self.x[index], inputs=self.inputs[index], baseline=self.baseline[index])


_PAIRS = ((4, 6), (6, 24), (10, 15), (10, 40), (16, 24), (20, 30), (20, 80), (30, 60))  # k and l of eigenproblems
_LANCZOS = (25, 50, 100)  # steps of the probes of linear systems and functions
_FAR = 1e-8  # to which the l-th column of a subspace may fade against the first before it is orthogonalized


def exact_groups(task: str, stage: Stage, samples: int, seed: int) -> list[Group]:
    """What the backbone learns on: spectra with the exact values in the form that the embedding emits."""
    groups = []
    pairs = _PAIRS if task == "eigenproblem" else ((0, 0),) * 2
    kinds = [(m, k, l) for m in stage.orders for k, l in pairs if l < m]
    for i, (m, k, l) in enumerate(kinds):
        count = max(1, samples // len(kinds))
        values, _ = rescaled(spectra(count, m, task=task, seed=_seed(seed, i, 0)), seed=_seed(seed, i, 1))
        if task == "eigenproblem":
            # the k-th; one before the l-th, the l-th, two after it
            e = values[:, np.minimum([k - 1, l - 2, l - 1, l, l + 1], m - 1)]
        else:
            e = np.concatenate([values[:, :5], values[:, -5:]], axis=1)
        groups.append(_group(task, values, e, k, l))
    return groups


def probed_groups(task: str, stage: Stage, samples: int, seed: int) -> list[Group]:
    """What the embedding learns on: spectra with what a probe shows of them, which is coarse more or less."""
    groups = []
    if task == "eigenproblem":
        kinds: list[tuple[int, ...]] = [(m, k, l) for m in stage.orders for k, l in _PAIRS if l < m]
    else:
        kinds = [(m, min(steps, m), 0) for m in stage.orders for steps in _LANCZOS]
    condition = (1e1, 1e5) if task == "linear_system" else None  # wider than the first stage's (appendix D.2)
    for i, (m, *numbers) in enumerate(kinds):
        count = max(1, samples // len(kinds))
        values = spectra(count, m, task=task, seed=_seed(seed, i, 0), condition=condition)
        generator = np.random.default_rng(np.random.Philox(key=_seed(seed, i, 1)))
        _, factors = rescaled(values, seed=_seed(seed, i, 2))
        k, l = numbers if task == "eigenproblem" else (0, 0)
        inputs = np.empty((count, 2, 2 * (WINDOW if l else ENDS)))
        for j, row in enumerate(values):
            if not l:
                seen = lanczos(row, numbers[0], generator)
            elif j % 3:
                seen = subspace(row, l, round(500.0 ** generator.random()), generator)
            else:
                seen = lanczos(row, min(m, max(2 * l, 20)), generator)
            theta, r = seen
            if j % 2:  # as the engine normalizes, the other half at random
                factors[j] = 1.0 / (theta[0] + r[0])
            theta, r = factors[j] * theta, factors[j] * r
            if l:
                chosen = window(k, min(l, len(theta)), TARGETS, WINDOW)
                inputs[j] = np.concatenate([theta[chosen], r[chosen]])
            else:
                inputs[j] = ends(theta, r, ENDS)
        values = values * factors
        if not l:
            values = values[:, np.unique(np.linspace(0, m - 1, min(m, _MOST_POINTS)).round().astype(int))]
        groups.append(_group(task, values, inputs, k, l))
    return groups


def lanczos(eigenvalues: np.ndarray, steps: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values, descending, and residuals of the planner's probe of a diagonal matrix."""
    seen = ritz.run(lambda v: eigenvalues * v, generator.standard_normal(len(eigenvalues)), steps)
    return seen.values[::-1], seen.residuals[::-1]


def subspace(
    eigenvalues: np.ndarray, l: int, iterations: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values (l,), descending, and residuals after subspace iterations on a diagonal positive definite matrix."""
    relative = eigenvalues / eigenvalues[0]
    # as many powers at a time as leave the l-th direction above rounding
    at_once = max(1, int(math.log(_FAR) / math.log(min(relative[l - 1], 1.0 - 1e-9))))
    V = np.linalg.qr(generator.standard_normal((len(eigenvalues), l)))[0]
    while iterations > 0:
        power = min(at_once, iterations)
        V = np.linalg.qr((relative**power)[:, None] * V)[0]
        iterations -= power
    XV = eigenvalues[:, None] * V
    theta, S = np.linalg.eigh(V.T @ XV)
    residuals = np.linalg.norm(XV @ S - (V @ S) * theta, axis=0)
    return theta[::-1], residuals[::-1]


def neumann_error(x: np.ndarray, degree: int) -> np.ndarray:
    """(g, degree): logarithm of equation 24 for the series of x^(-1/2) in 1 - x, cut after 1 ... degree."""
    term, total, found = np.ones_like(x), np.ones_like(x), []
    for j in range(1, degree + 1):
        term = term * (1.0 - x) * ((j - 0.5) / j)
        total = total + term
        found.append(np.log(np.abs(1.0 - total * np.sqrt(x)).max(axis=1)))
    return np.stack(found, axis=1)


def _group(task: str, values: np.ndarray, inputs: np.ndarray, k: int, l: int) -> Group:
    layers = np.arange(1, LAYERS[task] + 1)
    if task == "eigenproblem":
        baseline = np.log(values[:, k - 1] / values[:, l - 1])[:, None] * layers
    elif task == "linear_system":
        baseline = np.log1p(-values[:, -1] / values[:, 0])[:, None] * layers
    else:
        baseline = neumann_error(values, LAYERS[task] + 1)[:, 1:]  # the degree after a layer is one more
    x, shown, log_r = (torch.from_numpy(np.ascontiguousarray(array)) for array in (values, inputs, baseline))
    return Group(x, shown, log_r, k, l)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def terms(engine: Engine, group: Group, stage: str, augmented: Tensor | None = None) -> tuple[Tensor, ...]:
    """Terms (g, d) of the loss; of functions at `augmented` : (g, any), shares of the spectrum's width, too."""
    e = group.inputs if stage == "backbone" else engine.embedding(group.inputs)
    coefficients, x = engine.backbone(e), group.x
    if augmented is not None:
        x = torch.cat([x, x[:, -1:] + augmented * (x[:, :1] - x[:, -1:])], dim=1)
    P = polynomials(coefficients, x, normalize=engine.task != "inverse_square_root")
    if engine.task == "eigenproblem":
        return eigenproblem_terms(P, group.k, group.l, group.baseline)
    if engine.task == "linear_system":
        return linear_system_terms(P, x, group.baseline)
    return inverse_square_root_terms(P, x, group.baseline)


def _batches(groups: list[Group], size: int, seed: int, epoch: int) -> Iterator[Group]:
    """Of one group each, in an order that is a function of the seed and the epoch."""
    generator = torch.Generator().manual_seed(_seed(seed, epoch) >> 1)
    parts = [
        (group, part) for group in groups for part in torch.randperm(len(group.x), generator=generator).split(size)
    ]
    for i in torch.randperm(len(parts), generator=generator).tolist():
        group, part = parts[i]
        yield group.take(part)


def held_out_loss(engine: Engine, groups: list[Group], stage: str) -> dict[str, float]:
    """Of the last layer: mean loss; median of the objective's inverse (the gain over the baseline); share of failures.

    A failure is a sample on which the method does not converge, or gains a tenth of what the baseline gains.
    """
    losses, objectives = [], []
    with torch.no_grad():
        for group in groups:
            found = terms(engine, group, stage)
            losses.append(sum(term[:, -1] for term in found))
            objectives.append(found[0][:, -1])
    objective = torch.cat(objectives)
    failed = (objective <= CLAMP) | (objective >= 1.0 / FADED - 1e-6)
    return {
        "loss": float(torch.cat(losses).clamp(max=1.0 / FADED).mean()),  # one failure would hide all the others
        "gain": float((1.0 / objective[~failed]).median()) if not failed.all() else 0.0,
        "failures": float(failed.double().mean()),
    }


class Run:
    """A stage of training that can be stopped after any epoch, and taken up again."""

    def __init__(
        self, engine: Engine, stage: str, setting: Stage, groups: list[Group], rate: float, epochs: int, seed: int
    ) -> None:
        self.engine, self.stage, self.setting, self.groups = engine, stage, setting, groups
        self.rate, self.epochs, self.seed, self.epoch = rate, epochs, seed, 0
        self.steps = epochs * sum(-(-len(group.x) // setting.batch) for group in groups)
        self.parameters = list(getattr(engine, stage).parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=WEIGHT_DECAY)

    def train_epoch(self) -> float:
        """Mean loss of the layers, weighted as they are at the time."""
        d, per_epoch = LAYERS[self.engine.task], self.steps // self.epochs
        generator = torch.Generator().manual_seed(_seed(self.seed, self.epoch, 1) >> 1)
        total = 0.0
        for i, group in enumerate(_batches(self.groups, self.setting.batch, self.seed, self.epoch)):
            step = self.epoch * per_epoch + i
            augmented = None
            if self.engine.task == "inverse_square_root":
                augmented = torch.rand(len(group.x), AUGMENTED, generator=generator, dtype=torch.float64)
            weights = torch.from_numpy(layer_weights(d, step, self.steps))
            loss = (sum(terms(self.engine, group, self.stage, augmented)).mean(0) * weights).sum()  # type: ignore[union-attr]
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = learning_rate(self.rate, step, self.steps)
            self.optimizer.zero_grad()
            loss.backward(inputs=self.parameters)
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            total += float(loss.detach())
        self.epoch += 1
        return total / per_epoch


STAGES = ("backbone", "embedding")


def train(
    task: str,
    out: str | Path,
    *,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train an engine, with one thread.

    Parameters
    ----------
    task : {"linear_system", "eigenproblem", "inverse_square_root"}
    out : str or Path
        Folder, made if needed, for the weights (paper_<task>.npz), losses by epoch (curves.csv, curves.png), a
        checkpoint (checkpoint.pt) and the report (report.json). Where there is a checkpoint of the same training it
        goes on from there, and ends with the same bits.
    seed : int
        Of the spectra, probes, first weights and batches.
    settings : Settings, optional
        `SETTINGS[task]` by default.
    progress : callable, optional
        Is told a line after each epoch, once the checkpoint is written. It may raise to stop.

    Returns
    -------
    dict
        The report: settings, chosen learning rates, held-out figures after each stage, seconds.

    Raises
    ------
    ValueError
        If the task is not one of these, or the checkpoint is of a training with other settings.
    """
    if task not in LAYERS:
        raise ValueError(f"task = {task!r} is not one of {', '.join(LAYERS)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on how they are divided
    try:
        return _train(task, Path(out), seed, settings or SETTINGS[task], progress or (lambda line: None))
    finally:
        torch.set_num_threads(threads)


def _train(task: str, out: Path, seed: int, settings: Settings, progress: Callable[[str], None]) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    engine = Engine(task, seed)
    key = json.dumps({"task": task, "seed": seed, "settings": asdict(settings)})
    state: dict[str, Any] = {"key": key, "stage": "backbone", "rates": {}, "epoch": 0, "rows": [], "seconds": 0.0}
    state |= {"held_out": {}, "engine": None, "optimizer": None}
    path = out / "checkpoint.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["key"] != key:
            raise ValueError(f"the checkpoint in {out} is of another training: {state['key']}")
        engine.load_state_dict(state["engine"])
    for number, stage in enumerate(STAGES):
        if STAGES.index(state["stage"]) > number:
            continue
        if state["stage"] != stage:
            state |= {"stage": stage, "epoch": 0, "optimizer": None}
        began = time.perf_counter() - state["seconds"]
        setting = getattr(settings, stage)
        groups, held_out = (
            (exact_groups if stage == "backbone" else probed_groups)(task, setting, count, _seed(seed, number, j))
            for j, count in enumerate((setting.samples, settings.held_out))
        )
        if stage not in state["rates"]:
            state["rates"][stage] = _best_rate(engine, stage, settings, groups, held_out, seed, progress)
        run = Run(engine, stage, setting, groups, state["rates"][stage], setting.epochs, seed)
        run.epoch = state["epoch"]
        if state["optimizer"] is not None:
            run.optimizer.load_state_dict(state["optimizer"])
        while run.epoch < setting.epochs:
            loss = run.train_epoch()
            state["held_out"][stage] = figures = held_out_loss(engine, held_out, stage)
            state["rows"].append([stage, run.epoch, loss, *figures.values()])
            state |= {"epoch": run.epoch, "engine": engine.state_dict(), "optimizer": run.optimizer.state_dict()}
            state["seconds"] = time.perf_counter() - began
            _save(state, path)
            progress(
                f"{task} {stage} {run.epoch}/{setting.epochs}: loss {loss:.4g}, held out {figures['loss']:.4g},"
                f" gain {figures['gain']:.3f}, failures {figures['failures']:.3%}, {state['seconds']:.0f} s"
            )
    weights = engine.weights()
    PaperEngine.of_weights(task, weights)  # shapes and numbers are as inference wants them
    np.savez_compressed(out / f"paper_{task}.npz", **weights)  # type: ignore[arg-type]
    _write_curves(task, state["rows"], out)
    report = json.loads(key) | {name: state[name] for name in ("rates", "held_out", "seconds")}
    report["versions"] = {"torch": torch.__version__, "numpy": np.__version__}
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _best_rate(
    engine: Engine, stage: str, settings: Settings, groups: list[Group], held_out: list[Group], seed: int,
    progress: Callable[[str], None],
) -> float:  # fmt: skip
    """The learning rate with the lowest held-out loss after a short training."""
    setting: Stage = getattr(settings, stage)
    if len(setting.rates) == 1:
        return setting.rates[0]
    epochs = max(1, round(settings.trial * setting.epochs))
    found = {}
    for rate in setting.rates:
        trial = Run(copy.deepcopy(engine), stage, setting, groups, rate, epochs, seed)
        for _ in range(epochs):
            trial.train_epoch()
        found[rate] = held_out_loss(trial.engine, held_out, stage)["loss"]
        progress(f"{engine.task} {stage}: learning rate {rate:g}, held out {found[rate]:.4g} after {epochs} epochs")
    return min(found, key=lambda rate: found[rate])


def _save(state: dict[str, Any], path: Path) -> None:
    """Whole, or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _write_curves(task: str, rows: list[list[Any]], out: Path) -> None:
    from matplotlib.figure import Figure

    with (out / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["stage", "epoch", "loss", "held_out_loss", "gain", "failures"])
        writer.writerows(rows)
    figure = Figure(figsize=(9.0, 3.5), layout="constrained")
    titles = ("held-out loss of the last layer", 3), ("median gain over the baseline", 4)
    for axes, (name, column) in zip(figure.subplots(1, 2), titles, strict=True):
        for stage in STAGES:
            chosen = [row for row in rows if row[0] == stage]
            axes.plot([row[1] for row in chosen], [row[column] for row in chosen], label=stage)
        axes.set(xlabel="epoch", title=name, yscale="log" if column == 3 else "linear")
        axes.legend()
    figure.suptitle(task)
    figure.savefig(out / "curves.png", dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import argparse

    import typer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(LAYERS))
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, curves and the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=1.0, help="multiple of the default numbers of epochs")
    chosen = parser.parse_args(arguments)
    settings = SETTINGS[chosen.task]
    if chosen.epochs != 1.0:
        backbone, embedding = (
            replace(stage, epochs=max(1, round(chosen.epochs * stage.epochs)))
            for stage in (settings.backbone, settings.embedding)
        )
        settings = replace(settings, backbone=backbone, embedding=embedding)
    train(
        chosen.task, chosen.out, seed=chosen.seed, settings=settings,
        progress=partial(typer.echo, err=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
