"""Training of the AutoSpec engine for eigenproblems (`primitives.autospec.eigenproblems` says what it computes).

Spectra with the Krylov-Schur probe that the planner runs; of each the network sees the probe, and is judged by the true
eigenvalues. An outer iteration of m steps lessens the error of the k-th Ritz value by exp(-2 rate),

    rate = max over j of (m - j) acosh(|p(lambda_k)| / the (j + 1)-th largest of |p(lambda_i)|, i > k + 5),

which is the forecast of `primitives.eigenpairs` with j eigenvalues at which the filter is large left to a step each;
the number of outer iterations is about inversely proportional to it (correlation 0.6 of the logarithms of the quotients
of two filters, on spectra like these; a quotient of 0.80 on average where 0.69 is promised).

    loss = mean of log(rate with Chebyshev's polynomial from the 1.5 k-th Ritz value on / rate)
           + penalties where an unwanted eigenvalue comes near the wanted ones, and where the filter is larger between
           the eigenvalues than rounding allows.

Afterwards a second network learns the quantiles of that logarithm, by the pinball loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...primitives.autospec import eigenproblems as inference
from ...primitives.eigenpairs.spectral_filters import SpectralProbe, probed
from ...primitives.polynomials import Recurrence, chebyshev_filter
from .operators import NODES, spectrum
from .training import Settings, as_shipped, collected, fit, network, run, search, teller, weights, write

WANTED = (5, 25)
ITERATIONS = (1, 30)  # outer ones of the probe, of four in ten 20
_LONG = 12  # times as many eigenvalues as wanted: with fewer Krylov-Schur ends for want of more
FLIPPED = 0.3  # share of spectra of which the other end is wanted
QUANTILES = (0.5, 0.75, 0.9)
_SINGLE = 6  # eigenvalues that may be left to a step each, one less
_EASY = 60.0  # rate at which one outer iteration is enough
_GRID = 128
_BETWEEN = math.log(1e4)  # how many times as large as at the eigenvalues a filter may be between them: rounding
_APART = 0.5  # of the logarithm of what Chebyshev's is larger by at the wanted ones: the least that is asked for


@dataclass(frozen=True)
class Sample:
    """Eigenvalues, ascending, of which the smallest are wanted, and what a probe saw of them."""

    values: np.ndarray
    seen: SpectralProbe
    given: inference.Start


def sample(rng: np.random.Generator) -> Sample | None:
    """None where Chebyshev's polynomial needs one outer iteration, or fails, or the spectrum is too short."""
    values, counts = spectrum(rng)
    if rng.uniform() < FLIPPED:
        values, counts = (values[0] + values[-1] - values)[::-1], counts[::-1]
    k = int(rng.integers(WANTED[0], WANTED[1] + 1))
    outer = int(math.exp(rng.uniform(math.log(ITERATIONS[0]), math.log(ITERATIONS[1] + 1))))
    outer = 20 if rng.uniform() < 0.4 else outer
    if len(values) < _LONG * k or not values[k + inference.EXTRA] > values[k - 1]:
        return None
    seen = probed(lambda v: values * v, np.sqrt(rng.chisquare(counts)), k, "SA", outer)
    if not 0.0 < rate(chebyshev(seen), values, seen) <= _EASY:
        return None
    return Sample(values, seen, inference.start(seen))


def dataset(seed: int, count: int, progress: Callable[[int], None] | None = None) -> list[Sample]:
    """So many samples, the same for the same seed."""
    return collected(sample, seed, count, 10, progress)


def chebyshev(seen: SpectralProbe, degree: int = inference.DEGREE) -> Recurrence:
    """What is to be beaten: the paper's, with the boundary of its appendix E."""
    low, high = sorted((seen.boundary(3 * seen.k // 2), seen.far))
    return chebyshev_filter(low, high, degree, float(seen.values[0]))


def rate(p: Recurrence, values: np.ndarray, seen: SpectralProbe) -> float:
    """Of an outer iteration with p; zero where another eigenvalue is found."""
    y = np.abs(p(values))
    largest = np.sort(y[seen.k + inference.EXTRA :])[::-1][:_SINGLE]
    if not y[seen.k - 1] > largest[0]:
        return 0.0
    steps = _steps(seen) - np.arange(len(largest))
    return float((np.maximum(steps, 0) * np.arccosh(y[seen.k - 1] / largest)).max())


def _steps(seen: SpectralProbe) -> int:
    return max(1, len(seen.values) - seen.k - inference.EXTRA)


@dataclass
class Arrays:
    """Samples as tensors; numbers are distances from the k-th Ritz value. Padding is not `known`."""

    values: Any  # (s, NODES), those after the (k + 5)-th
    known: Any
    target: Any  # (s,) the k-th
    features: Any
    reach: Any
    whole: Any
    steps: Any
    rate: Any  # log of that of Chebyshev's
    apart: Any  # what is asked for of log(|p| at the k-th eigenvalue / its largest value at those to be damped)


def arrays(samples: list[Sample]) -> Arrays:
    """Of samples."""
    import torch

    rows, known = np.empty((len(samples), NODES)), np.zeros((len(samples), NODES), bool)
    for row, here, one in zip(rows, known, samples, strict=True):
        beyond = one.values[one.seen.k + inference.EXTRA :] - one.given.last
        row[: len(beyond)], row[len(beyond) :] = beyond, beyond[-1]
        here[: len(beyond)] = True
    columns = [
        rows,
        known,
        np.array([one.values[one.seen.k - 1] - one.given.last for one in samples]),
        np.array([one.given.features for one in samples]),
        np.array([one.given.reach for one in samples]),
        np.array([one.given.far - one.given.last for one in samples]),
        np.array([float(_steps(one.seen)) for one in samples]),
        np.array([math.log(rate(chebyshev(one.seen), one.values, one.seen)) for one in samples]),
        np.array([_APART * min(1.0, _separation(chebyshev(one.seen), one)) for one in samples]),
    ]
    return Arrays(*(torch.from_numpy(column) for column in columns))


def _separation(p: Recurrence, one: Sample) -> float:
    y = np.abs(p(one.values))
    return math.log(y[one.seen.k - 1] / y[one.seen.k + inference.EXTRA :].max())


def zeros(data: Arrays, part: Any, said: Any) -> tuple[Any, Any]:
    """(zeros (s, degree), boundary (s, 1)), distances: `inference.recurrence`, in torch."""
    import torch

    said = said.clamp(-inference.MOST, inference.MOST)
    at = np.linspace(0.0, inference.KNOTS - 1.0, inference.DEGREE + 1)
    spread = np.maximum(0.0, 1.0 - np.abs(at[None, :] - np.arange(inference.KNOTS)[:, None]))
    gaps = torch.from_numpy(inference.equidistant(inference.DEGREE)) * torch.exp(said[:, 1:] @ torch.from_numpy(spread))
    angles = torch.cumsum(gaps, 1)[:, :-1] * (math.pi / gaps.sum(1, keepdim=True))
    whole = data.whole[part][:, None]
    reach = torch.minimum(data.reach[part][:, None] * torch.exp(said[:, :1]), 0.5 * whole)
    return reach + 0.5 * (whole - reach) * (1.0 - torch.cos(angles)), reach


def _logs(x: Any, theta: Any) -> Any:
    """log prod |x - theta| : (s, points)."""
    import torch

    found = torch.zeros_like(x)
    for j in range(theta.shape[1]):
        found = found + torch.log(torch.abs(x - theta[:, j : j + 1]) + 1e-300)
    return found


def judged(data: Arrays, part: Any, said: Any) -> tuple[Any, Any]:
    """(log(rate of Chebyshev's / rate) (s,), negative where better; penalties (s,))."""
    import torch

    theta, reach = zeros(data, part, said)
    target = _logs(data.target[part][:, None], theta)
    logs = _logs(data.values[part], theta).masked_fill(~data.known[part], -math.inf) - target
    largest = torch.topk(logs, _SINGLE, dim=1).values
    g = torch.exp((-largest).clamp(1e-6, 200.0))
    steps = (data.steps[part][:, None] - torch.arange(_SINGLE)).clamp(min=1e-3)
    best = (steps * torch.acosh(g)).amax(1)
    best = torch.where(largest[:, 0] < 0.0, best, 1e-3 * torch.ones_like(best))  # another eigenvalue is found
    t = 0.5 - 0.5 * torch.cos(torch.linspace(0.0, math.pi, _GRID, dtype=torch.float64))
    peak = _logs(reach + (data.whole[part][:, None] - reach) * t, theta).amax(1) - target[:, 0]
    near = torch.relu(largest[:, 0] + data.apart[part])
    between = torch.relu(peak - largest[:, 0] - _BETWEEN)
    return data.rate[part] - torch.log(best), near + 0.1 * between


def loss(data: Arrays, part: Any, said: Any, penalty: float) -> Any:
    """What is minimized. Gains beyond a factor of two count less and less."""
    import torch

    gain, wrong = judged(data, part, said)
    return torch.where(gain < 0.0, torch.tanh(gain), gain.clamp(max=3.0)).mean() + penalty * wrong.mean()


def pinball(said: Any, target: Any) -> Any:
    """Sum of the quantile losses (Koenker and Bassett 1978) of what the doubts (s, 3) say about targets (s,)."""
    import torch

    off = target[:, None] - said
    q = torch.tensor(QUANTILES, dtype=torch.float64)
    return torch.maximum(q * off, (q - 1.0) * off).mean(0).sum()


def train(
    out: Path, *, seed: int, samples: int, trials: int, settings: Settings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train both networks and write `eigenproblems.npz` and what goes with it; the record that is written too."""
    from dataclasses import replace

    import torch

    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    held = max(200, samples // 10)
    say(f"{samples} spectra with their Krylov-Schur probes, and {held} held out")
    data = arrays(dataset(2 * seed, samples, lambda i: say(f"  {i} spectra") if i % 500 == 0 else None))
    test = arrays(dataset(2 * seed + 1, held))
    everything = torch.arange(held)

    def fitted(chosen: Settings, count: int, name: str | None) -> tuple[Any, list[dict[str, float]]]:
        net = network(data.features, inference.OUTPUTS, chosen, seed)
        curve = fit(
            net,
            lambda rng: torch.from_numpy(rng.permutation(count)).split(chosen.batch),
            lambda part: loss(data, part, run(net, data.features[part]), chosen.penalty),
            lambda: float(loss(test, everything, run(net, test.features), Settings.penalty)),
            chosen,
            seed,
            checkpoint=out / f"{name}.pt" if name else None,
            progress=teller(name, say),
        )
        return net, curve

    if trials:

        def objective(chosen: Settings) -> float:
            value = min(p["held_out"] for p in fitted(replace(chosen, epochs=4), min(samples, 3000), None)[1])
            say(
                f"  rate {chosen.rate:.1e}, {chosen.layers} x {chosen.width}, penalty {chosen.penalty:.3g}: {value:.4f}"
            )
            return value

        say(f"{trials} short runs")
        settings = search(objective, trials, seed, settings)
    say(f"training with {settings}")
    net, curve = fitted(settings, samples, "moves")
    moves = as_shipped(net, "moves")

    def reached(of: Arrays) -> Any:
        with torch.no_grad():
            return judged(of, torch.arange(len(of.rate)), torch.from_numpy(moves(of.features.numpy())))

    say("how much it gains")
    target, (gain, wrong) = reached(data)[0].clamp(-3.0, 3.0), reached(test)
    chosen = Settings(rate=1e-3, width=48, layers=2, epochs=30, batch=128, decay=0.1)
    doubts = network(data.features, len(QUANTILES), chosen, seed)
    doubts_curve = fit(
        doubts,
        lambda rng: torch.from_numpy(rng.permutation(samples)).split(chosen.batch),
        lambda rows: pinball(run(doubts, data.features[rows]), target[rows]),
        lambda: float(pinball(run(doubts, test.features), gain.clamp(-3.0, 3.0))),
        chosen,
        seed,
        progress=teller("doubts", say),
    )
    with torch.no_grad():
        said = np.sort(run(doubts, test.features).numpy(), axis=1)
        still = judged(test, everything, torch.zeros(held, inference.OUTPUTS, dtype=torch.float64))[0]
    found = {"autospec": gain.numpy(), "Chebyshev's polynomial from the sixth after the k-th on": still.numpy()}
    record = {
        "task": "eigenproblems",
        "seed": seed,
        "samples": samples,
        "held_out": held,
        "settings": settings,
        "log(outer iterations / those of Chebyshev's polynomial of the paper)": {
            name: {f"quantile {q}": float(np.quantile(values, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
            | {"mean": float(values.clip(-3.0, 3.0).mean())}
            for name, values in found.items()
        },
        "worse by 5 %": {name: float((values > 0.05).mean()) for name, values in found.items()},
        "another eigenvalue may be found": float((gain > 2.0).double().mean()),
        "with a penalty": float((wrong > 0.0).double().mean()),
        "below each quantile": [float((gain.numpy() <= said[:, i]).mean()) for i in range(len(QUANTILES))],
    }
    write(out, "eigenproblems", weights(net, "moves") | weights(doubts, "doubts"), record,
          {"moves": curve, "doubts": doubts_curve})  # fmt: skip
    return record
