"""Training of the AutoSpec engine for functions (`primitives.autospec.functions` says what it computes).

    loss = mean of log(largest error at the eigenvalues of the best polynomial for the interval that the network says
                       / largest error of the best polynomial on the true interval)

for polynomials of degree 21, six functions. Tables over the condition number of the interval stand for the exchange
algorithm, which has no derivative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...primitives.autospec import functions as inference
from ...primitives.polynomials.functions import Function, minimax
from ...probes import ritz
from .operators import NODES, spectrum
from .training import Settings, fit, network, run, search, teller, weights, write

DEGREE = 21
FUNCTIONS = (Function(-0.5), Function(-1.0), Function(-1.0 / 3.0), Function(-0.25), Function(0.5), Function(None))
NAMES = ("inv_sqrt", "inv", "inv_root 3", "inv_root 4", "sqrt", "log")
_TABLE, _PIECES = 16, 6  # condition numbers at which the best polynomial is computed: so many in each of so many pieces
_FROM, _TO = math.log(1.02), math.log(1e6)
_WIDTH = (_TO - _FROM) / _PIECES
_FLOOR = 2e-7  # errors below are all the same: the tables are no better


@functools.cache
def table(which: int) -> tuple[Any, Any]:
    """Of the best polynomial on [1 / condition, 1], as Chebyshev series in the logarithm of the condition number.

    (pieces, degree + 1, _TABLE) of its coefficients, over the growth of f; (pieces, _TABLE) of the log of its error.
    """
    import torch

    f = FUNCTIONS[which]
    angles = (np.arange(_TABLE) + 0.5) * (math.pi / _TABLE)
    transform = np.cos(np.arange(_TABLE)[:, None] * angles[None, :]) * (2.0 / _TABLE)
    transform[0] *= 0.5
    coefficients, errors = [], []
    for piece in range(_PIECES):
        conditions = np.exp(_FROM + _WIDTH * (piece + 0.5 + 0.5 * np.cos(angles)))
        rows, sizes = [], []
        for condition in conditions:
            p = minimax(f, 1.0 / condition, 1.0, DEGREE)
            x = np.geomspace(1.0 / condition, 1.0, 2000)
            rows.append(p.chebyshev(1.0 / condition, 1.0) / condition ** _growth(f))
            sizes.append(max(_FLOOR, float(np.abs(f.error(p, x)).max())))
        coefficients.append((transform @ np.array(rows)).T)
        errors.append(transform @ np.log(sizes))
    return torch.from_numpy(np.array(coefficients)), torch.from_numpy(np.array(errors))


def _growth(f: Function) -> float:
    """Of the largest value of f on [1 / condition, 1], which is the condition to this power, or nearly one."""
    return 0.0 if f.power is None else max(0.0, -f.power)


def at_condition(series: Any, log_condition: Any) -> Any:
    """(pieces, ..., _TABLE) series at (s,) logarithms: (s, ...)."""
    import torch

    at = ((log_condition - _FROM) / _WIDTH).clamp(0.0, _PIECES - 1e-9)
    piece = at.detach().floor().long()
    t = (2.0 * (at - piece) - 1.0).clamp(-1.0 + 1e-12, 1.0 - 1e-12)
    basis = torch.cos(torch.arange(_TABLE, dtype=torch.float64) * torch.arccos(t)[:, None])
    return (series[piece] * basis.reshape(len(basis), *(1,) * (series.ndim - 2), _TABLE)).sum(-1)


@dataclass
class Arrays:
    """Samples: padding repeats the largest eigenvalue."""

    nodes: Any
    features: Any
    which: Any
    smallest: Any  # Ritz value
    largest: Any
    residual: Any  # of the largest


def dataset(seed: int, count: int) -> Arrays:
    """So many spectra with a Lanczos probe of each, the same for the same seed."""
    import torch

    rows: list[tuple[Any, ...]] = []
    for child in np.random.default_rng(seed).spawn(4 * count):
        nodes, counts = spectrum(child)
        condition = 10.0 ** child.uniform(0.2, 4.0)
        nodes = nodes ** min(1.0, math.log(condition) / math.log(1.0 / nodes[0]))  # as ill-conditioned as that at most
        steps = 50 if child.uniform() < 0.4 else int(np.exp(child.uniform(math.log(12.0), math.log(200.0))))
        seen = ritz.run(lambda v, nodes=nodes: nodes * v, np.sqrt(child.chisquare(counts)), steps)
        if not seen.values[0] > 1e-14 or not seen.values[-1] > 1.02 * seen.values[0]:
            continue
        which = int(child.integers(len(FUNCTIONS)))
        given = inference.inputs(seen.values, seen.residuals, seen.weights, FUNCTIONS[which])
        padded = np.concatenate([nodes, np.full(NODES - len(nodes), nodes[-1])])
        rows.append((padded, given, which, seen.values[0], seen.values[-1], seen.residuals[-1]))
        if len(rows) == count:
            break
    columns = [torch.from_numpy(np.array(column)) for column in zip(*rows, strict=True)]
    return Arrays(*columns)


def excess(data: Arrays, part: Any, said: Any) -> Any:
    """(s,) log of the largest error at the eigenvalues over that of the best polynomial on the true interval."""
    import torch

    found = torch.zeros(len(part), dtype=torch.float64)
    low = data.smallest[part] * torch.exp(-torch.nn.functional.softplus(said[:, 0]))
    high = data.largest[part] + data.residual[part] * torch.sigmoid(said[:, 1])
    nodes = data.nodes[part]
    for which, f in enumerate(FUNCTIONS):
        rows = torch.nonzero(data.which[part] == which)[:, 0]
        if not len(rows):
            continue
        a, b, x = low[rows], high[rows], nodes[rows]
        series, errors = table(which)
        ratio = torch.log(b / a).clamp(_FROM, _TO)
        c = at_condition(series, ratio)
        c = c * torch.exp(_growth(f) * ratio)[:, None]
        t = (2.0 * x - (a + b)[:, None]) / (b - a)[:, None]
        before, current = torch.ones_like(t), t
        p = c[:, 0:1] + c[:, 1:2] * t
        for k in range(2, DEGREE + 1):
            before, current = current, 2.0 * t * current - before
            p = p + c[:, k : k + 1] * current
        # of [a / b, 1], where the table stands
        scaled = x / b[:, None]
        wrong = p - torch.log(scaled) if f.power is None else p * scaled**-f.power - 1.0
        worst = wrong.abs().amax(1).clamp(_FLOOR, 1e12)
        best = at_condition(errors, torch.log(x.amax(1) / x.amin(1)).clamp(_FROM, _TO))
        found[rows] = torch.log(worst) - best
    return found


def train(
    out: Path, *, seed: int, samples: int, trials: int, settings: Settings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train the network and write `functions.npz` and what goes with it; the record that is written too."""
    from dataclasses import replace

    import torch

    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    held = max(200, samples // 20)
    say(f"{samples} spectra with their Lanczos probes, and {held} held out")
    data, test = dataset(2 * seed, samples), dataset(2 * seed + 1, held)
    everything = torch.arange(held)

    def fitted(chosen: Settings, count: int, name: str | None) -> tuple[Any, list[dict[str, float]]]:
        net = network(data.features, 2, chosen, seed)
        curve = fit(
            net,
            lambda rng: torch.from_numpy(rng.permutation(count)).split(chosen.batch),
            lambda part: excess(data, part, run(net, data.features[part])).mean(),
            lambda: float(excess(test, everything, run(net, test.features)).mean()),
            chosen,
            seed,
            checkpoint=out / f"{name}.pt" if name else None,
            progress=teller(name, say),
        )
        return net, curve

    if trials:

        def objective(chosen: Settings) -> float:
            value = min(
                p["held_out"]
                for p in fitted(replace(chosen, epochs=min(10, settings.epochs)), min(samples, 4000), None)[1]
            )
            say(f"  rate {chosen.rate:.1e}, {chosen.layers} x {chosen.width}: {value:.4f}")
            return value

        say(f"{trials} short runs")
        settings = search(objective, trials, seed, settings)
    say(f"training with {settings}")
    net, curve = fitted(settings, samples, "ends")
    with torch.no_grad():
        found = excess(test, everything, run(net, test.features)).numpy()
        cautious = torch.full((held, 2), -20.0, dtype=torch.float64)
        cautious[:, 1] = 20.0
        plain = excess(test, everything, cautious).numpy()  # from the smallest Ritz value to the upper bound
    record: dict[str, Any] = {"task": "functions", "seed": seed, "samples": samples, "held_out": held}
    record |= {"settings": settings, "error over the best on the true interval": {}}
    for which, name in enumerate(NAMES):
        rows = test.which.numpy() == which
        record["error over the best on the true interval"][name] = {
            label: [float(np.exp(np.quantile(values[rows], q))) for q in (0.5, 0.95)]
            for label, values in (("engine, median and 95 %", found), ("interval of the Ritz values", plain))
        }
    write(out, "functions", weights(net, "ends"), record, {"ends": curve})
    return record
