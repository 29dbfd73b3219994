"""Training of the AutoSpec engine for linear systems (`primitives.autospec.linear_systems` says what it computes).

Spectra with the Lanczos probe that the planner runs (`probes.ritz`); of each the network sees the probe, and is judged
by conjugate gradients on the spectrum itself:

    loss = mean of log(residual after K steps with its polynomial / the same with the one it starts from)
                 / |log residual of that one|  +  a penalty where the polynomial is not positive with a margin,

K being the steps that the start takes to 1e-10 (64 at most). -0.1 are ten per cent fewer iterations. Afterwards a
second network learns by how much the forecast from the probe (`polynomials.forecast`) is off, by the pinball loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...primitives.autospec import linear_systems as inference
from ...primitives.polynomials import forecast
from ...probes import ritz
from .operators import NODES, spectrum
from .training import Settings, as_shipped, collected, fit, network, run, search, teller, weights, write

TOLERANCE = 1e-10
MOST = 64  # iterations that are followed
_RATIO = (0.5, 0.05, 0.95)  # quantiles of log(iterations taken / forecast) that the doubts are
_GAIN = 0.9  # quantile of the gain


@dataclass(frozen=True)
class Sample:
    """A spectrum and what a probe saw of it."""

    nodes: np.ndarray
    start: np.ndarray  # of conjugate gradients, at the nodes
    values: np.ndarray  # Ritz values
    weights: np.ndarray
    given: inference.Start


def sample(rng: np.random.Generator) -> Sample | None:
    """None where there is nothing to learn: the probe has seen too few eigenvalues, or least squares is at fault."""
    nodes, counts = spectrum(rng)
    steps = 50 if rng.uniform() < 0.6 else int(np.exp(rng.uniform(math.log(20.0), math.log(300.0))))
    first, second = (np.sqrt(rng.chisquare(counts)) for _ in range(2))
    seen = ritz.run(lambda v: nodes * v, first, steps)
    if not seen.values[0] > 1e-14:
        return None
    given = inference.start(seen.values, seen.residuals, seen.weights)
    return None if given is None else Sample(nodes, second, seen.values, seen.weights, given)


def dataset(seed: int, count: int, progress: Callable[[int], None] | None = None) -> list[Sample]:
    """So many samples, the same for the same seed."""
    return collected(sample, seed, count, 4, progress)


@dataclass
class Arrays:
    """Samples as padded tensors: (s, NODES) and the like. Padding has weight zero at the start."""

    nodes: Any
    start: Any
    features: Any
    gaps: Any
    end: Any
    steps: Any  # K
    reached: Any  # log of the residual of the start after K steps


def arrays(samples: list[Sample]) -> Arrays:
    """With K and the residual of the start."""
    import torch

    count = len(samples)
    nodes, start = torch.ones(count, NODES, dtype=torch.float64), torch.zeros(count, NODES, dtype=torch.float64)
    for i, one in enumerate(samples):
        nodes[i, : len(one.nodes)] = torch.from_numpy(one.nodes)
        start[i, : len(one.nodes)] = torch.from_numpy(one.start)
    start = start / start.norm(dim=1, keepdim=True)
    features = torch.tensor(np.array([one.given.features for one in samples]))
    gaps = torch.tensor(np.array([one.given.gaps for one in samples]))
    end = torch.tensor([one.given.end for one in samples], dtype=torch.float64)
    steps, reached = [], []
    for part in torch.split(torch.arange(count), 256):
        p = polynomial(nodes[part], zeros(gaps[part], torch.zeros_like(gaps[part]), end[part]))
        logs = torch.stack(list(residuals(nodes[part], p, start[part], MOST)))
        k = (logs > math.log(TOLERANCE)).sum(dim=0) + 1
        k = torch.clamp(k, max=MOST)
        steps.append(k)
        reached.append(logs.gather(0, k[None, :] - 1)[0])
    return Arrays(nodes, start, features, gaps, end, torch.cat(steps), torch.cat(reached))


def zeros(gaps: Any, change: Any, end: Any) -> Any:
    """(s, degree + 1) of the residual polynomials: `inference.recurrence`, in torch."""
    import torch

    moved = gaps * torch.exp(torch.clamp(change, -inference.MOST, inference.MOST))
    angles = torch.cumsum(moved, 1)[:, :-1] * (math.pi / moved.sum(1, keepdim=True))
    return 0.5 * end[:, None] * (1.0 - torch.cos(angles))


def residual(x: Any, theta: Any) -> Any:
    """prod (1 - x / theta) : (s, points)."""
    found = 1.0 - x / theta[:, :1]
    for j in range(1, theta.shape[1]):
        found = found * (1.0 - x / theta[:, j : j + 1])
    return found


def polynomial(nodes: Any, theta: Any) -> Any:
    """p at the nodes, not below a millionth of what it is near one, so that conjugate gradients go on."""
    import torch

    return torch.clamp(1.0 - residual(nodes, theta), min=1e-6) / nodes


def residuals(nodes: Any, p: Any, start: Any, steps: int) -> Iterator[Any]:
    """log ||r_k|| (s,) for k = 1 ... steps, of preconditioned conjugate gradients from r_0 of norm one."""
    import torch

    r = start
    z = p * r
    d, rz = z, (r * z).sum(1, keepdim=True)
    for _ in range(steps):
        q = nodes * d
        r = r - rz / torch.clamp((d * q).sum(1, keepdim=True), min=1e-290) * q
        yield 0.5 * torch.log(torch.clamp((r * r).sum(1), min=1e-60))
        z = p * r
        new = (r * z).sum(1, keepdim=True)
        d = z + new / torch.clamp(rz, min=1e-290) * d
        rz = new


def judged(data: Arrays, part: Any, change: Any) -> tuple[Any, Any]:
    """(gain (s,), negative where better than the start; penalty (s,)) of changes of the gaps (s, degree + 2)."""
    import torch

    theta = zeros(data.gaps[part], change, data.end[part])
    steps = data.steps[part]
    p = polynomial(data.nodes[part], theta)
    logs = torch.stack(list(residuals(data.nodes[part], p, data.start[part], int(steps.max()))))
    after = logs.gather(0, steps[None, :] - 1)[0]
    reached = data.reached[part]
    gain = (after - reached) / torch.clamp(-reached, min=6.0)
    count = len(inference.GRID)
    angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
    x = 0.5 * data.end[part][:, None] * (1.0 - torch.cos(angles))
    wanted = 1.0 - inference.MARGIN * torch.clamp(x / theta[:, :1], max=1.0)
    return gain, torch.log1p(torch.relu(residual(x, theta) - wanted)).mean(1)


def batches(steps: Any, size: int, rng: np.random.Generator) -> list[Any]:
    """Indices in random batches of about equally many iterations each."""
    import torch

    keys = np.log(steps.numpy()) + 0.15 * rng.standard_normal(len(steps))
    order = np.argsort(keys)
    parts = [torch.from_numpy(order[i : i + size]) for i in range(0, len(order), size)]
    return [parts[i] for i in rng.permutation(len(parts))]


def ratio(one: Sample, p: Any) -> float | None:
    """log(iterations taken on the spectrum / iterations forecast from the probe), None where neither ends."""
    nodes = forecast.spectrum(one.values, one.weights)
    said = forecast.cg_iterations(nodes, p(nodes)[:, None], TOLERANCE, 400)[0]
    taken = forecast.cg_iterations(one.nodes, p(one.nodes)[:, None], TOLERANCE, 400, one.start)[0]
    return math.log(taken / said) if max(said, taken) < 400.0 else None


def loss(data: Arrays, part: Any, change: Any, penalty: float) -> Any:
    """What is minimized. Gains beyond thirty per cent count less and less: they are of samples with a bad start."""
    import torch

    gain, wrong = judged(data, part, change)
    return torch.where(gain < 0.0, 0.3 * torch.tanh(gain / 0.3), gain.clamp(max=2.0)).mean() + penalty * wrong.mean()


def doubts_targets(samples: Sequence[Sample], data: Arrays, moves: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(s, 2): log(iterations taken / forecast), NaN where neither ends; gain."""
    import torch

    found = np.full((len(samples), 2), np.nan)
    for i, one in enumerate(samples):
        value = ratio(one, inference.recurrence(one.given, moves(one.given.features)))
        found[i, 0] = np.nan if value is None else value
    with torch.no_grad():
        for part in torch.split(torch.argsort(data.steps), 256):
            change = torch.from_numpy(moves(data.features[part].numpy()))
            found[part.numpy(), 1] = judged(data, part, change)[0].numpy()
    return found


def pinball(said: Any, target: Any) -> Any:
    """Sum of the quantile losses (Koenker and Bassett 1978) of what the doubts (s, 4) say about targets (s, 2)."""
    import torch

    total = 0.0
    for column, (quantile, which) in enumerate([*((q, 0) for q in _RATIO), (_GAIN, 1)]):
        known = ~torch.isnan(target[:, which])
        off = target[known, which] - said[known, column]
        total = total + torch.maximum(quantile * off, (quantile - 1.0) * off).sum() / max(1, int(known.sum()))
    return total


def train(
    out: Path, *, seed: int, samples: int, trials: int, settings: Settings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train both networks and write `linear_systems.npz` and what goes with it; the record that is written too."""
    import torch

    torch.set_num_threads(1)  # the tensors are small: more threads wait for each other, and sum in another order
    out.mkdir(parents=True, exist_ok=True)
    held = max(200, samples // 20)
    say(f"{samples} spectra with their Lanczos probes, and {held} held out")
    seen = dataset(2 * seed, samples, lambda i: say(f"  {i} spectra") if i % 2000 == 0 else None)
    unseen = dataset(2 * seed + 1, held)
    data, test = arrays(seen), arrays(unseen)

    def fitted(chosen: Settings, parts: Any, name: str | None) -> tuple[Any, list[dict[str, float]]]:
        net = network(data.features, data.gaps.shape[1], chosen, seed)
        curve = fit(
            net,
            lambda rng: (parts[part] for part in batches(data.steps[parts], chosen.batch, rng)),
            lambda part: loss(data, part, run(net, data.features[part]), chosen.penalty),
            lambda: float(
                sum(
                    len(part) * loss(test, part, run(net, test.features[part]), Settings.penalty)
                    for part in torch.split(torch.argsort(test.steps), 128)
                )
                / held
            ),
            chosen,
            seed,
            checkpoint=out / f"{name}.pt" if name else None,
            progress=teller(name, say),
        )
        return net, curve

    if trials:
        few = torch.arange(min(samples, 4000))

        def objective(chosen: Settings) -> float:
            value = min(
                point["held_out"] for point in fitted(replace(chosen, epochs=min(10, settings.epochs)), few, None)[1]
            )
            say(
                f"  rate {chosen.rate:.1e}, {chosen.layers} x {chosen.width}, penalty {chosen.penalty:.3g}: {value:.4f}"
            )
            return value

        say(f"{trials} short runs")
        settings = search(objective, trials, seed, settings)
    say(f"training with {settings}")
    net, curve = fitted(settings, torch.arange(samples), "moves")
    moves = as_shipped(net, "moves")
    say("how far forecasts are off")
    few = min(samples, 8000)
    part = type(data)(*(getattr(data, field.name)[:few] for field in fields(data)))
    target, target_out = (
        torch.from_numpy(doubts_targets(some, of, moves)) for some, of in ((seen[:few], part), (unseen, test))
    )
    chosen = Settings(rate=1e-3, width=48, layers=2, epochs=40, batch=128)
    doubts = network(part.features, len(_RATIO) + 1, chosen, seed)
    doubts_curve = fit(
        doubts,
        lambda rng: torch.from_numpy(rng.permutation(few)).split(chosen.batch),
        lambda rows: pinball(run(doubts, part.features[rows]), target[rows]),
        lambda: float(pinball(run(doubts, test.features), target_out)),
        chosen,
        seed,
        progress=teller("doubts", say),
    )
    with torch.no_grad():
        said = run(doubts, test.features).numpy()
        gain, wrong = (
            torch.cat(rows)
            for rows in zip(
                *(
                    judged(test, rows, torch.from_numpy(moves(test.features[rows].numpy())))
                    for rows in torch.split(torch.arange(held), 128)
                ),
                strict=True,
            )
        )
    truth = target_out.numpy()
    known = ~np.isnan(truth[:, 0])
    record = {
        "task": "linear_systems",
        "seed": seed,
        "samples": samples,
        "held_out": held,
        "settings": settings,
        "gain": {f"quantile {q}": float(np.quantile(gain.numpy(), q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "worse than the start by 2 %": float((gain > 0.02).double().mean()),
        "not positive with the margin": float((wrong > 0.0).double().mean()),
        "forecast in its interval": float(
            ((truth[known, 0] >= said[known, 1]) & (truth[known, 0] <= said[known, 2])).mean()
        ),
        "gain below its bound": float((truth[:, 1] <= said[:, 3]).mean()),
        "factor of the forecast, median and 95 %": [
            float(np.exp(np.quantile(np.abs(truth[known, 0] - said[known, 0]), q))) for q in (0.5, 0.95)
        ],
        "the same without the correction": [
            float(np.exp(np.quantile(np.abs(truth[known, 0]), q))) for q in (0.5, 0.95)
        ],
    }
    write(
        out,
        "linear_systems",
        weights(net, "moves") | weights(doubts, "doubts"),
        record,
        {"moves": curve, "doubts": doubts_curve},
    )
    return record
